/* SPDX-License-Identifier: MIT */
/* What the payload can tell of the board that it runs on. */
#include "harness.h"

#include <string.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

static void fact(struct text *out, const char *key, const char *value)
{
	text_add(out, "fact %s ", key);
	text_add_escaped(out, value, strcspn(value, "\n"), 400);
	text_add(out, "\n");
}

static void fact_file(struct text *out, const char *key, const char *path)
{
	char text[1024];

	if (read_file_raw(path, text, sizeof(text)) > 0)
		fact(out, key, text);
}

void facts(struct text *out)
{
	struct utsname name;
	struct sysinfo memory;

	if (!uname(&name)) {
		fact(out, "kernel", name.release);
		fact(out, "kernel_version", name.version);
		fact(out, "machine", name.machine);
		fact(out, "hostname", name.nodename);
	}
	text_add(out, "fact cpus %ld\n", sysconf(_SC_NPROCESSORS_ONLN));
	text_add(out, "fact page_size %ld\n", sysconf(_SC_PAGESIZE));
	if (!sysinfo(&memory))
		text_add(out, "fact memory_kib %llu\n",
			 (unsigned long long)memory.totalram * memory.mem_unit / 1024);
	fact_file(out, "cmdline", "/proc/cmdline");
	fact_file(out, "boot_id", "/proc/sys/kernel/random/boot_id");
	fact_file(out, "model", "/proc/device-tree/model");
	if (!access("/sys/kernel/debug/kmemleak", R_OK | W_OK))
		fact(out, "kmemleak", "yes");
	text_add(out, "fact uid %u\nfact build %s\nfacts done\n", (unsigned int)geteuid(),
		 farm_build_id);
}
