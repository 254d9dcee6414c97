/* SPDX-License-Identifier: MIT */
#include "farm.h"

#include <stdio.h>
#include <unistd.h>

/* VIDIOC_EXPBUF of one buffer of the format that the node has: 0 or -errno of what was refused. */
static int export_one(struct v4l2_queue *queue)
{
	int err = v4l2_request_raw(queue, V4L2_MEMORY_MMAP, 1);
	int dmabuf = err ? err : v4l2_export_raw(queue, 0);

	if (dmabuf >= 0)
		close(dmabuf);
	return dmabuf < 0 ? dmabuf : 0;
}

CASE(video_exporters, "Tell of each video node whether VIDIOC_EXPBUF gives its buffers away",
     .timeout_ms = 30000)
{
	for (unsigned int node = 0; node < V4L2_NODES; node++) {
		struct v4l2_queue capture, output;
		char path[32], name[16];
		bool captures, outputs;

		snprintf(name, sizeof(name), "video%u", node);
		snprintf(path, sizeof(path), "/dev/%s", name);
		captures = !v4l2_open_node_raw(path, NULL, V4L2_BUF_TYPE_VIDEO_CAPTURE, &capture);
		outputs = !v4l2_open_node_raw(path, NULL, V4L2_BUF_TYPE_VIDEO_OUTPUT, &output);
		if (captures || outputs)
			info(name, "%s %s", captures && outputs ? "m2m" : captures ? "capture" : "output",
			     errname(export_one(captures ? &capture : &output)));
		v4l2_close(&capture);
		v4l2_close(&output);
	}
}
