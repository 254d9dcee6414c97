/* SPDX-License-Identifier: MIT */
/* payload --list [--json] | run CASE key=value … | serve | frame STATUS */
#include "harness.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define EXIT_USAGE 2

static int help(FILE *to, int status)
{
	fputs("payload --list [--json]\n"
	      "	lists the cases: suite, name, what it checks, its parameters with their defaults\n"
	      "payload run CASE [key=value]… [--timeout-ms N] [--counter NAME=SOURCE]…\n"
	      "	runs one case and prints its KTAP block; values are percent-encoded;\n"
	      "	SOURCE: tp:SYSTEM:EVENT kprobe:FUNCTION sw:N hw:N irq:SUBSTRING\n"
	      "	exits with 0 pass, 1 fail or over its time limit, 4 skip, 3 the test itself broke\n"
	      "payload serve\n"
	      "	takes commands from stdin, one a line: counters, run, facts, topology, jiffies, ping, quit\n"
	      "payload frame STATUS\n"
	      "	prints stdin with a number and a checksum on each line, and STATUS on the last\n",
	      to);
	return status;
}

static int usage(void)
{
	return help(stderr, EXIT_USAGE);
}

static bool nothing_to_read(struct watch *watch)
{
	(void)watch;
	return true;
}

static int run(char **args, int count)
{
	static const int status[] = {
		[FARM_NONE] = 3, [FARM_PASS] = 0, [FARM_FAIL] = 1, [FARM_SKIP] = 4, [FARM_ERROR] = 3,
	};
	struct run_request request = { .id = "manual" };
	struct watch watch = { .fd = -1, .readable = nothing_to_read };
	struct text out = { 0 }, opened = { 0 };
	enum farm_outcome outcome = FARM_ERROR;
	char *specs[COUNTERS_MAX];
	size_t spec_count = 0;

	for (int i = 0; i < count; i++) {
		bool has_value = i + 1 < count;
		const char *wrong = NULL;
		uint64_t value;

		if (!strcmp(args[i], "--timeout-ms") && has_value && parse_u64(args[i + 1], &value) &&
		    value <= 3600000) {
			request.timeout_ms = (unsigned int)value;
			i++;
		} else if (!strcmp(args[i], "--counter") && has_value && spec_count < COUNTERS_MAX) {
			specs[spec_count++] = args[++i];
		} else if (!request.name && is_token(args[i], "_") && strlen(args[i]) <= 64) {
			request.name = args[i];
		} else {
			wrong = add_param(&request, args[i]);
		}
		if (wrong) {
			fprintf(stderr, "payload: '%s': %s\n", args[i], wrong);
			return usage();
		}
	}
	if (!request.name)
		return usage();
	runner_init();
	if (spec_count)
		counters_open(specs, spec_count, &opened);
	case_note_harness_fds();
	signal(SIGPIPE, SIG_IGN);
	runner_run(&request, &watch, &out, &outcome);
	return text_flush(&out, STDOUT_FILENO) ? status[outcome] : 3;
}

int main(int argc, char **argv)
{
	struct text out = { 0 };

	if (argc >= 3 && !strcmp(argv[1], "run"))
		return run(argv + 2, argc - 2);
	if (argc == 2 && !strcmp(argv[1], "serve"))
		return serve();
	if (argc == 3 && !strcmp(argv[1], "frame"))
		return frame(argv[2]);
	if (argc == 2 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")))
		return help(stdout, 0);
	if (argc == 2 && !strcmp(argv[1], "--list"))
		list_text(&out);
	else if (argc == 3 && !strcmp(argv[1], "--list") && !strcmp(argv[2], "--json"))
		list_json(&out);
	else
		return usage();
	return text_flush(&out, STDOUT_FILENO) ? 0 : 1;
}
