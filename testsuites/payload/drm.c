/* SPDX-License-Identifier: MIT */
/* DRM: devices by driver name, dumb buffers, PRIME, vgem's fences. */
#define FARM_HELPERS
#include "farm.h"

#include <drm/drm_mode.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define MINORS 16

static int command(int fd, unsigned long request, void *argument)
{
	int ret;

	do {
		ret = ioctl(fd, request, argument);
	} while (ret < 0 && (errno == EINTR || errno == EAGAIN));
	return ret < 0 ? -errno : ret;
}

static int driver_name(int fd, char *name, size_t size)
{
	struct drm_version version = { .name_len = size - 1, .name = name };
	int err = command(fd, DRM_IOCTL_VERSION, &version);

	name[err ? 0 : version.name_len < size ? version.name_len : size - 1] = '\0';
	return err;
}

void drm_driver(int fd, char *name, size_t size)
{
	int err = driver_name(fd, name, size);

	if (err)
		broken("DRM_IOCTL_VERSION: %s", errname(err));
}

/* Who refused: the driver behind fd. */
static const char *who(int fd)
{
	static char name[32];

	return driver_name(fd, name, sizeof(name)) ? "?" : name;
}

static void must(int fd, int ret, const char *what)
{
	if (ret < 0)
		fail("%s on %s: expected success, got %s", what, who(fd), errname(ret));
}

static void must_refuse(int fd, int ret, int err, const char *what)
{
	if (ret >= 0)
		fail("%s on %s: expected %s, got success", what, who(fd), errname(err));
	if (ret != -err)
		fail("%s on %s: expected %s, got %s", what, who(fd), errname(err), errname(ret));
}

/* --- opening --------------------------------------------------------------------------------------- */

/* Whether name stands in the comma-separated list. */
static bool listed(const char *list, const char *name)
{
	size_t length = strlen(name);

	while (*list) {
		size_t item = strcspn(list, ",");

		if (item == length && !strncmp(list, name, length))
			return true;
		list += item + (list[item] == ',');
	}
	return false;
}

/* The first /dev/dri/<prefix>N whose driver is listed. */
static int open_listed(const char *prefix, unsigned int first, const char *drivers)
{
	for (unsigned int minor = first; minor < first + MINORS; minor++) {
		char path[48], name[64];
		int fd;

		snprintf(path, sizeof(path), "/dev/dri/%s%u", prefix, minor);
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			continue;
		if (!driver_name(fd, name, sizeof(name)) && listed(drivers, name))
			return fd;
		close(fd);
	}
	return -ENODEV;
}

int drm_open_raw(const char *address)
{
	int fd;

	if (strncmp(address, "drm:", 4) || !address[4])
		return -EINVAL;
	fd = open_listed("card", 0, address + 4);
	return fd >= 0 ? fd : open_listed("renderD", 128, address + 4);
}

int drm_open(const char *address)
{
	int fd = drm_open_raw(address);

	if (fd == -EINVAL)
		broken("'%s' is not drm:DRIVER", address);
	if (fd < 0)
		fail("no DRM device with the driver of '%s' under /dev/dri", address);
	return fd;
}

/* --- dumb buffers ---------------------------------------------------------------------------------- */

int dumb_create_raw(int fd, size_t size, struct dumb *dumb)
{
	struct drm_mode_create_dumb create = {
		.width = 1024, .height = (uint32_t)((size + 4095) / 4096), .bpp = 32,
	};
	int err = command(fd, DRM_IOCTL_MODE_CREATE_DUMB, &create);

	*dumb = (struct dumb){ .handle = create.handle, .pitch = create.pitch, .size = create.size };
	return err;
}

struct dumb dumb_create(int fd, size_t size)
{
	struct dumb dumb;

	must(fd, dumb_create_raw(fd, size, &dumb), "MODE_CREATE_DUMB");
	return dumb;
}

int dumb_map_raw(int fd, uint32_t handle, size_t size, void **map)
{
	struct drm_mode_map_dumb where = { .handle = handle };
	int err = command(fd, DRM_IOCTL_MODE_MAP_DUMB, &where);

	*map = NULL;
	if (err)
		return err;
	*map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)where.offset);
	if (*map != MAP_FAILED)
		return 0;
	*map = NULL;
	return -errno;
}

void *dumb_map(int fd, uint32_t handle, size_t size)
{
	void *map;

	must(fd, dumb_map_raw(fd, handle, size, &map), "MODE_MAP_DUMB");
	return map;
}

/* --- PRIME and GEM --------------------------------------------------------------------------------- */

int prime_export_raw(int fd, uint32_t handle)
{
	struct drm_prime_handle prime = {
		.handle = handle, .flags = DRM_CLOEXEC | DRM_RDWR, .fd = -1,
	};
	int err = command(fd, DRM_IOCTL_PRIME_HANDLE_TO_FD, &prime);

	return err ? err : prime.fd;
}

int prime_export(int fd, uint32_t handle)
{
	int dmabuf = prime_export_raw(fd, handle);

	must(fd, dmabuf, "PRIME_HANDLE_TO_FD");
	return dmabuf;
}

void prime_export_errno(int fd, uint32_t handle, int err)
{
	must_refuse(fd, prime_export_raw(fd, handle), err, "PRIME_HANDLE_TO_FD");
}

int prime_import_raw(int fd, int dmabuf, uint32_t *handle)
{
	struct drm_prime_handle prime = { .fd = dmabuf };
	int err = command(fd, DRM_IOCTL_PRIME_FD_TO_HANDLE, &prime);

	*handle = prime.handle;
	return err;
}

uint32_t prime_import(int fd, int dmabuf)
{
	uint32_t handle;

	must(fd, prime_import_raw(fd, dmabuf, &handle), "PRIME_FD_TO_HANDLE");
	return handle;
}

void prime_import_errno(int fd, int dmabuf, int err)
{
	uint32_t handle;

	must_refuse(fd, prime_import_raw(fd, dmabuf, &handle), err, "PRIME_FD_TO_HANDLE");
}

int gem_close_raw(int fd, uint32_t handle)
{
	struct drm_gem_close close = { .handle = handle };

	return command(fd, DRM_IOCTL_GEM_CLOSE, &close);
}

void gem_close(int fd, uint32_t handle)
{
	must(fd, gem_close_raw(fd, handle), "GEM_CLOSE");
}

void gem_close_errno(int fd, uint32_t handle, int err)
{
	must_refuse(fd, gem_close_raw(fd, handle), err, "GEM_CLOSE");
}

/* --- vgem's fences --------------------------------------------------------------------------------- */

int vgem_fence_attach_raw(int fd, uint32_t handle, uint32_t flags, uint32_t *fence)
{
	struct drm_vgem_fence_attach attach = { .handle = handle, .flags = flags };
	int err = command(fd, DRM_IOCTL_VGEM_FENCE_ATTACH, &attach);

	*fence = attach.out_fence;
	return err;
}

uint32_t vgem_fence_attach(int fd, uint32_t handle, uint32_t flags)
{
	uint32_t fence;

	must(fd, vgem_fence_attach_raw(fd, handle, flags, &fence), "VGEM_FENCE_ATTACH");
	return fence;
}

void vgem_fence_attach_errno(int fd, uint32_t handle, uint32_t flags, int err)
{
	uint32_t fence;

	must_refuse(fd, vgem_fence_attach_raw(fd, handle, flags, &fence), err, "VGEM_FENCE_ATTACH");
}

int vgem_fence_signal_raw(int fd, uint32_t fence)
{
	struct drm_vgem_fence_signal signal = { .fence = fence };

	return command(fd, DRM_IOCTL_VGEM_FENCE_SIGNAL, &signal);
}

void vgem_fence_signal(int fd, uint32_t fence)
{
	must(fd, vgem_fence_signal_raw(fd, fence), "VGEM_FENCE_SIGNAL");
}

void vgem_fence_signal_errno(int fd, uint32_t fence, int err)
{
	must_refuse(fd, vgem_fence_signal_raw(fd, fence), err, "VGEM_FENCE_SIGNAL");
}
