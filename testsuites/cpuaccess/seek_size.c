/* SPDX-License-Identifier: MIT */
#include "farm.h"
#include "buffer.h"

#include <sys/stat.h>
#include <unistd.h>

CASE(seek_size, "Seeking to the end tells the size, any other seek is refused",
     .params = "exporter= size=1048576")
{
	static const struct { int64_t offset; int whence; const char *name; } wrong[] = {
		{ 1, SEEK_END, "SEEK_END 1" },	  { -1, SEEK_END, "SEEK_END -1" },
		{ 4096, SEEK_SET, "SEEK_SET 4096" }, { -1, SEEK_SET, "SEEK_SET -1" },
		{ 0, SEEK_CUR, "SEEK_CUR 0" },	  { 4096, SEEK_CUR, "SEEK_CUR 4096" },
		{ 0, 3, "SEEK_DATA 0" },	  { 0, 4, "SEEK_HOLE 0" },
	};
	struct buffer buffer = buffer_open(param_str("exporter"), param_u64("size"));
	int64_t end = dmabuf_seek(buffer.fd, 0, SEEK_END);
	struct stat status;

	check(end == (int64_t)buffer.size, "SEEK_END gives %lld, the exporter made %zu",
	      (long long)end, buffer.size);
	check(fstat(buffer.fd, &status) == 0 && status.st_size == end,
	      "fstat says %lld, SEEK_END %lld", (long long)status.st_size, (long long)end);
	check(dmabuf_seek(buffer.fd, 0, SEEK_SET) == 0, "SEEK_SET 0 does not give 0");
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		int64_t at = dmabuf_seek_raw(buffer.fd, wrong[i].offset, wrong[i].whence);

		check(at == -EINVAL, "%s: %lld (%s), expected EINVAL", wrong[i].name,
		      (long long)at, at < 0 ? errname((int)at) : "allowed");
	}
	buffer_close(&buffer);
}
