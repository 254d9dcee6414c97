/* SPDX-License-Identifier: MIT */
#include "farm.h"

#include <unistd.h>

CASE(import_own, "Importing one's own export yields the same handle, in the file that made it",
     .params = "device= size=1048576")
{
	int drm = drm_open(param_str("device"));
	struct dumb dumb = dumb_create(drm, param_u64("size"));
	int buffer = prime_export(drm, dumb.handle);
	uint32_t handle, again;

	window_begin();
	handle = prime_import(drm, buffer);
	window_end("own");
	check(handle == dumb.handle, "handle %u came back as %u", dumb.handle, handle);

	/* There is one handle, not two that count: one close is enough. */
	gem_close(drm, dumb.handle);
	gem_close_errno(drm, handle, EINVAL);

	/* The dma-buf keeps the object; its way back is the object itself, not an attachment. */
	window_begin();
	again = prime_import(drm, buffer);
	window_end("returned");
	check(again != 0, "no handle");

	gem_close(drm, again);
	close(buffer);
	drm_close(drm);
}
