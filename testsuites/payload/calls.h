/* SPDX-License-Identifier: MIT */
/* Calls in three ways, for the helpers: raw, and asserting that it works or how it is refused. */
#ifndef FARM_CALLS_H
#define FARM_CALLS_H

#include "farm.h"

#include <sys/ioctl.h>

/* ioctl that returns -errno and is tried again after a signal. */
static inline int command(int fd, unsigned long request, void *argument)
{
	int ret;

	do {
		ret = ioctl(fd, request, argument);
	} while (ret < 0 && errno == EINTR);
	return ret < 0 ? -errno : ret;
}

static inline void must(int ret, const char *what)
{
	if (ret < 0)
		fail("%s: expected success, got %s", what, errname(ret));
}

static inline void must_refuse(int ret, int err, const char *what)
{
	if (ret >= 0)
		fail("%s: expected %s, got success", what, errname(err));
	if (ret != -err)
		fail("%s: expected %s, got %s", what, errname(err), errname(ret));
}

#endif
