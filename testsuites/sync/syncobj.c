/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"

#include <stdatomic.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define PATIENCE_NS 10000000000ull

static int call(int drm, unsigned long request, void *argument)
{
	int ret;

	do {
		ret = ioctl(drm, request, argument);
	} while (ret < 0 && (errno == EINTR || errno == EAGAIN));
	return ret < 0 ? -errno : ret;
}

static void works(int drm, unsigned long request, void *argument, const char *what)
{
	int err = call(drm, request, argument);

	check(!err, "%s: %s", what, errname(err));
}

static void refuses(int drm, unsigned long request, void *argument, int err, const char *what)
{
	int seen = call(drm, request, argument);

	check(seen == -err, "%s: %s, expected %s", what, errname(seen), errname(err));
}

static uint64_t capability(int drm, uint64_t name)
{
	struct drm_get_cap cap = { .capability = name };

	return call(drm, DRM_IOCTL_GET_CAP, &cap) ? 0 : cap.value;
}

static uint32_t syncobj_create(int drm)
{
	struct drm_syncobj_create create = { 0 };

	works(drm, DRM_IOCTL_SYNCOBJ_CREATE, &create, "SYNCOBJ_CREATE");
	return create.handle;
}

static void syncobj_destroy(int drm, uint32_t handle)
{
	struct drm_syncobj_destroy destroy = { .handle = handle };

	works(drm, DRM_IOCTL_SYNCOBJ_DESTROY, &destroy, "SYNCOBJ_DESTROY");
	refuses(drm, DRM_IOCTL_SYNCOBJ_DESTROY, &destroy, EINVAL, "SYNCOBJ_DESTROY once more");
}

static void signal_point(int drm, uint32_t handle, uint64_t point)
{
	struct drm_syncobj_timeline_array array = {
		.handles = (uintptr_t)&handle, .points = (uintptr_t)&point, .count_handles = 1,
	};

	works(drm, DRM_IOCTL_SYNCOBJ_TIMELINE_SIGNAL, &array, "SYNCOBJ_TIMELINE_SIGNAL");
}

/* The last point that is signalled, or with LAST_SUBMITTED that has a fence. */
static void value_is(int drm, uint32_t handle, uint32_t flags, uint64_t expected, const char *when)
{
	uint64_t point = UINT64_MAX;
	struct drm_syncobj_timeline_array array = {
		.handles = (uintptr_t)&handle, .points = (uintptr_t)&point, .count_handles = 1,
		.flags = flags,
	};

	works(drm, DRM_IOCTL_SYNCOBJ_QUERY, &array, "SYNCOBJ_QUERY");
	check(point == expected, "%s the timeline's %s point is %llu, expected %llu", when,
	      flags ? "last submitted" : "last signalled", (unsigned long long)point,
	      (unsigned long long)expected);
}

/* Waits `patience` ns for points of one timeline; 0 or -errno. */
static int wait_points(int drm, uint32_t handle, const uint64_t *points, uint32_t count,
		       uint32_t flags, uint64_t patience, uint32_t *first)
{
	uint32_t handles[4] = { handle, handle, handle, handle };
	struct drm_syncobj_timeline_wait wait = {
		.handles = (uintptr_t)handles, .points = (uintptr_t)points, .count_handles = count,
		.timeout_nsec = patience ? (int64_t)(now_ns() + patience) : 0, .flags = flags,
	};
	int err = call(drm, DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT, &wait);

	if (first)
		*first = wait.first_signaled;
	return err;
}

static void wait_is(int drm, uint32_t handle, uint64_t point, uint32_t flags, int expected,
		    const char *what)
{
	int err = wait_points(drm, handle, &point, 1, flags, expected ? 0 : PATIENCE_NS, NULL);

	check(err == -expected, "a wait for point %llu, %s: %s, expected %s",
	      (unsigned long long)point, what, errname(err), errname(expected));
}

/* --- order, between two processes -------------------------------------------------------------------- */

struct meeting {
	int syncobj;			/* as a descriptor */
	const char *device;
	_Atomic uint64_t reached;	/* the last point that the waiter has seen */
};

static uint32_t import_handle(int drm, int fd, uint32_t handle, uint32_t flags)
{
	struct drm_syncobj_handle import = { .fd = fd, .handle = handle, .flags = flags };

	works(drm, DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE, &import, "SYNCOBJ_FD_TO_HANDLE");
	return import.handle;
}

/* Waits for points that nobody has submitted yet, one after the other. */
static void follow(void *arg)
{
	struct meeting *meeting = arg;
	int drm = drm_open(meeting->device);
	uint32_t handle = import_handle(drm, meeting->syncobj, 0, 0);

	for (uint64_t point = 1; point <= 6; point++) {
		wait_is(drm, handle, point, DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT, 0,
			"in another process");
		atomic_store(&meeting->reached, point);
	}
	syncobj_destroy(drm, handle);
	close(drm);
}

static void signal_in_order(int drm, const char *device, uint32_t handle)
{
	struct meeting *meeting = shared_memory(sizeof(*meeting));
	struct drm_syncobj_handle export = { .handle = handle };
	uint64_t limit = now_ns() + PATIENCE_NS;
	pid_t pid;

	works(drm, DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD, &export, "SYNCOBJ_HANDLE_TO_FD");
	meeting->syncobj = export.fd;
	meeting->device = device;
	pid = spawn(follow, meeting);
	for (uint64_t point = 2; point <= 6; point += 2) {
		/* The waiter is never ahead; a point may be passed over, and is reached by it. */
		check(atomic_load(&meeting->reached) <= point - 2,
		      "the waiter was at %llu before %llu was signalled",
		      (unsigned long long)atomic_load(&meeting->reached),
		      (unsigned long long)point);
		signal_point(drm, handle, point);
		value_is(drm, handle, 0, point, "after its signal");
		while (atomic_load(&meeting->reached) < point) {
			check(now_ns() < limit, "the waiter stays at %llu, %llu is signalled",
			      (unsigned long long)atomic_load(&meeting->reached),
			      (unsigned long long)point);
			sleep_ms(1);
		}
	}
	join(pid);
	close(export.fd);
	shared_memory_free(meeting, sizeof(*meeting));
}

/* --- a device's fence at a point ----------------------------------------------------------------------- */

/* Point 7 is a buffer's fence that is pending; whatever comes after has to wait for it. */
static void wait_for_a_fence(int drm, uint32_t timeline, const char *fencer)
{
	static const uint64_t points[] = { 7, 10, 6 };
	struct buffer buffer = buffer_open(fencer, 4096);
	uint32_t fence = vgem_fence_attach(buffer.device, buffer.handle, VGEM_FENCE_WRITE);
	int sync_file = sync_file_export(buffer.fd, DMA_BUF_SYNC_RW), err;
	uint32_t binary = syncobj_create(drm), first = UINT32_MAX;
	struct drm_syncobj_transfer transfer = {
		.src_handle = binary, .dst_handle = timeline, .dst_point = 7,
	};

	import_handle(drm, sync_file, binary, DRM_SYNCOBJ_FD_TO_HANDLE_FLAGS_IMPORT_SYNC_FILE);
	works(drm, DRM_IOCTL_SYNCOBJ_TRANSFER, &transfer, "SYNCOBJ_TRANSFER to point 7");
	signal_point(drm, timeline, 10);
	value_is(drm, timeline, 0, 6, "with 7 pending and 10 signalled");
	value_is(drm, timeline, DRM_SYNCOBJ_QUERY_FLAGS_LAST_SUBMITTED, 10, "with 10 signalled");
	wait_is(drm, timeline, 7, 0, ETIME, "pending");
	wait_is(drm, timeline, 10, 0, ETIME, "signalled itself, but after one that is pending");
	wait_is(drm, timeline, 11, 0, EINVAL, "not submitted");
	wait_is(drm, timeline, 11, DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT, ETIME, "not submitted");
	err = wait_points(drm, timeline, points, 3, 0, PATIENCE_NS, &first);
	check(!err && first == 2, "a wait for any of 7, 10 and 6: %s, number %u", errname(err), first);
	err = wait_points(drm, timeline, points, 3, DRM_SYNCOBJ_WAIT_FLAGS_WAIT_ALL, 0, NULL);
	check(err == -ETIME, "a wait for all of 7, 10 and 6: %s, expected ETIME", errname(err));

	vgem_fence_signal(buffer.device, fence);
	err = wait_points(drm, timeline, points, 3, DRM_SYNCOBJ_WAIT_FLAGS_WAIT_ALL, PATIENCE_NS,
			  NULL);
	check(!err, "a wait for all of 7, 10 and 6, signalled: %s", errname(err));
	value_is(drm, timeline, 0, 10, "when the fence of 7 is signalled");

	syncobj_destroy(drm, binary);
	close(sync_file);
	buffer_close(&buffer);
}

CASE(syncobj_timeline, "A timeline's points are waited for and signalled in their order",
     .timeout_ms = 40000, .params = "device= fencer=drm:vgem claimed=0")
{
	int drm = drm_open(param_str("device"));
	struct drm_syncobj_array reset;
	uint32_t timeline, unknown;

	if (!capability(drm, DRM_CAP_SYNCOBJ_TIMELINE)) {
		struct drm_syncobj_timeline_array none = { .count_handles = 1 };

		check(!param_u64("claimed"), "%s is to have syncobj timelines, and has none",
		      param_str("device"));
		refuses(drm, DRM_IOCTL_SYNCOBJ_TIMELINE_SIGNAL, &none, EOPNOTSUPP,
			"SYNCOBJ_TIMELINE_SIGNAL of a driver without timelines");
		skip("%s has no syncobj timelines on this kernel, and says so", param_str("device"));
	}
	timeline = syncobj_create(drm);
	value_is(drm, timeline, 0, 0, "at first");
	wait_is(drm, timeline, 1, 0, EINVAL, "not submitted");
	window_begin();
	signal_in_order(drm, param_str("device"), timeline);
	window_end("order");
	wait_for_a_fence(drm, timeline, param_str("fencer"));

	unknown = timeline + 1000;
	reset = (struct drm_syncobj_array){ .handles = (uintptr_t)&timeline, .count_handles = 1 };
	works(drm, DRM_IOCTL_SYNCOBJ_RESET, &reset, "SYNCOBJ_RESET");
	value_is(drm, timeline, 0, 0, "after a reset");
	reset.handles = (uintptr_t)&unknown;
	refuses(drm, DRM_IOCTL_SYNCOBJ_RESET, &reset, ENOENT, "SYNCOBJ_RESET of no handle");
	reset.count_handles = 0;
	refuses(drm, DRM_IOCTL_SYNCOBJ_RESET, &reset, EINVAL, "SYNCOBJ_RESET of nothing");
	syncobj_destroy(drm, timeline);
	close(drm);
}
