/* SPDX-License-Identifier: MIT */
#include "farm.h"

#include <unistd.h>

CASE(export_twice, "Exporting a GEM object twice yields the same dma-buf, another object another one",
     .params = "device= size=1048576")
{
	size_t size = param_u64("size");
	int drm = drm_open(param_str("device"));
	struct dumb one = dumb_create(drm, size), other = dumb_create(drm, size);
	int first = prime_export(drm, one.handle);
	int second = prime_export(drm, one.handle);
	int different = prime_export(drm, other.handle);

	check(first != second, "both exports are the same descriptor %d", first);
	check(file_inode(first) == file_inode(second), "two inodes for one object: %llu and %llu",
	      (unsigned long long)file_inode(first), (unsigned long long)file_inode(second));
	check(same_file(first, second), "the two exports are different open files (kcmp)");

	check(file_inode(first) != file_inode(different), "two objects share inode %llu",
	      (unsigned long long)file_inode(first));
	check(!same_file(first, different), "two objects are one open file (kcmp)");

	/* The object remembers its dma-buf only as long as a handle holds it (drm_gem.c). */
	close(first);
	first = prime_export(drm, one.handle);
	check(same_file(first, second), "the export after a close is another open file (kcmp)");

	close(first);
	close(second);
	close(different);
	gem_close(drm, one.handle);
	gem_close(drm, other.handle);
	drm_close(drm);
}
