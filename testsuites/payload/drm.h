/* SPDX-License-Identifier: MIT */
/* DRM: devices by driver name, dumb buffers, PRIME, vgem's fences. */
#ifndef FARM_DRM_H
#define FARM_DRM_H

#include <drm/drm.h>
#include <drm/vgem_drm.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Opens "drm:<driver>[,<driver>…]": the first /dev/dri/card*, else renderD*, whose DRM_IOCTL_VERSION
 * name is one of them. Each call is a new open file. -ENODEV: none.
 */
int drm_open_raw(const char *address);
int drm_open(const char *address);
/* Samples what the driver tells of the open file (fdinfo), and closes it. */
void drm_close(int fd);
/* The sampling alone, of such a text, which is cut up on the way. */
void drm_fdinfo_tell(char *text);
void drm_driver(int fd, char *name, size_t size);	/* DRM_IOCTL_VERSION's name */

struct dumb {
	uint32_t handle;
	uint32_t pitch;
	uint64_t size;
};

/* A dumb buffer of at least `size` bytes (1024 pixels of 32 bit a line), size a multiple of 4 KiB. */
int dumb_create_raw(int fd, size_t size, struct dumb *dumb);
struct dumb dumb_create(int fd, size_t size);
/* mmap through DRM_IOCTL_MODE_MAP_DUMB. */
int dumb_map_raw(int fd, uint32_t handle, size_t size, void **map);
void *dumb_map(int fd, uint32_t handle, size_t size);

/* DRM_IOCTL_PRIME_HANDLE_TO_FD with DRM_CLOEXEC|DRM_RDWR: the dma-buf. */
int prime_export_raw(int fd, uint32_t handle);
int prime_export(int fd, uint32_t handle);
void prime_export_errno(int fd, uint32_t handle, int err);

/* DRM_IOCTL_PRIME_FD_TO_HANDLE. */
int prime_import_raw(int fd, int dmabuf, uint32_t *handle);
uint32_t prime_import(int fd, int dmabuf);
void prime_import_errno(int fd, int dmabuf, int err);

int gem_close_raw(int fd, uint32_t handle);
void gem_close(int fd, uint32_t handle);
void gem_close_errno(int fd, uint32_t handle, int err);

/* flags 0: a read fence, VGEM_FENCE_WRITE: a write fence. Returns the fence's id (> 0). */
int vgem_fence_attach_raw(int fd, uint32_t handle, uint32_t flags, uint32_t *fence);
uint32_t vgem_fence_attach(int fd, uint32_t handle, uint32_t flags);
void vgem_fence_attach_errno(int fd, uint32_t handle, uint32_t flags, int err);
int vgem_fence_signal_raw(int fd, uint32_t fence);
void vgem_fence_signal(int fd, uint32_t fence);
void vgem_fence_signal_errno(int fd, uint32_t fence, int err);

#ifndef FARM_HELPERS
#define drm_open(...) FARM_AT(drm_open(__VA_ARGS__))
#define drm_driver(...) FARM_AT(drm_driver(__VA_ARGS__))
#define dumb_create(...) FARM_AT(dumb_create(__VA_ARGS__))
#define dumb_map(...) FARM_AT(dumb_map(__VA_ARGS__))
#define prime_export(...) FARM_AT(prime_export(__VA_ARGS__))
#define prime_export_errno(...) FARM_AT(prime_export_errno(__VA_ARGS__))
#define prime_import(...) FARM_AT(prime_import(__VA_ARGS__))
#define prime_import_errno(...) FARM_AT(prime_import_errno(__VA_ARGS__))
#define gem_close(...) FARM_AT(gem_close(__VA_ARGS__))
#define gem_close_errno(...) FARM_AT(gem_close_errno(__VA_ARGS__))
#define vgem_fence_attach(...) FARM_AT(vgem_fence_attach(__VA_ARGS__))
#define vgem_fence_attach_errno(...) FARM_AT(vgem_fence_attach_errno(__VA_ARGS__))
#define vgem_fence_signal(...) FARM_AT(vgem_fence_signal(__VA_ARGS__))
#define vgem_fence_signal_errno(...) FARM_AT(vgem_fence_signal_errno(__VA_ARGS__))
#endif

#endif
