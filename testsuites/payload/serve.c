/* SPDX-License-Identifier: MIT */
/*
 * The persistent channel: commands from stdin, one a line, answered in order on stdout.
 *
 * The end of stdin means that the other side is gone: a running case is killed and the process
 * exits at once, unless a `quit` was already read, so that a script can be piped in.
 */
#include "runner.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_BYTES_MAX 8192u
#define INPUT_BYTES (64u << 10)
#define ID_BYTES_MAX 64
#define TIMEOUT_MS_MAX 3600000

static char input[INPUT_BYTES];
static size_t input_used;
static bool input_ended;
static bool cases_ran;

/* --- lines in -------------------------------------------------------------------------------------- */

static void read_input(void)
{
	ssize_t got;

	do {
		got = read(STDIN_FILENO, input + input_used, sizeof(input) - input_used);
	} while (got < 0 && errno == EINTR);
	if (got > 0)
		input_used += (size_t)got;
	else if (got == 0 || errno != EAGAIN)
		input_ended = true;
}

static bool quit_is_pending(void)
{
	static const char quit[] = "quit\n";
	size_t length = sizeof(quit) - 1;

	return input_used >= length && !memcmp(input + input_used - length, quit, length) &&
	       (input_used == length || input[input_used - length - 1] == '\n');
}

/* While a case runs: keep what comes for later; false when the other side is gone. */
static bool input_while_running(struct watch *watch)
{
	read_input();
	if (input_ended || input_used == sizeof(input))
		watch->fd = -1;
	return !input_ended || quit_is_pending();
}

enum line { LINE_END, LINE_OK, LINE_TOO_LONG };

/* The next line, without its newline; lines too long are passed over to their end. */
static enum line next_line(char *line, size_t *length)
{
	bool too_long = false;

	for (;;) {
		char *newline = memchr(input, '\n', input_used);
		size_t taken;

		if (!newline) {
			if (input_used >= LINE_BYTES_MAX) {
				too_long = true;
				input_used = 0;
			}
			if (input_ended)
				return LINE_END;
			read_input();
			continue;
		}
		*length = (size_t)(newline - input);
		taken = *length + 1;
		if (*length >= LINE_BYTES_MAX)
			too_long = true;
		else
			memcpy(line, input, *length);
		memmove(input, input + taken, input_used - taken);
		input_used -= taken;
		if (too_long)
			return LINE_TOO_LONG;
		while (*length && line[*length - 1] == '\r')
			--*length;
		line[*length] = '\0';
		return LINE_OK;
	}
}

/* --- commands -------------------------------------------------------------------------------------- */

static void error_line(struct text *out, const char *what, const char *seen)
{
	text_add(out, "error %s", what);
	if (seen) {
		text_add(out, ": ");
		text_add_escaped(out, seen, strlen(seen), 100);
	}
	text_add(out, "\n");
}

const char *add_param(struct run_request *request, char *word)
{
	char *equals = strchr(word, '=');
	bool named;

	if (!equals)
		return "a parameter is not key=value";
	*equals = '\0';
	named = is_token(word, "_-") && strlen(word) < NAME_MAX_BYTES;
	*equals = '=';
	if (!named)
		return "a parameter's key is not a name";
	if (!percent_decode(equals + 1))
		return "a parameter's value is not percent-encoded text";
	if (request->param_count == PARAMS_MAX)
		return "too many parameters";
	request->params[request->param_count++] = word;
	return NULL;
}

/* run ID TIMEOUT_MS CASE key=value …; false: the other side is gone. */
static bool command_run(char **words, size_t count, struct text *out)
{
	struct run_request request = { .absences_told = true };
	struct watch watch = { .fd = input_ended ? -1 : STDIN_FILENO,
			       .readable = input_while_running };
	enum farm_outcome outcome;
	uint64_t timeout_ms;

	if (count < 4) {
		error_line(out, "expected run ID TIMEOUT_MS CASE key=value", NULL);
		return true;
	}
	if (!is_token(words[1], "_.:-") || strlen(words[1]) > ID_BYTES_MAX) {
		error_line(out, "the run's id is not a name", words[1]);
		return true;
	}
	if (!parse_u64(words[2], &timeout_ms) || timeout_ms > TIMEOUT_MS_MAX) {
		error_line(out, "the time limit is not a number of milliseconds", words[2]);
		return true;
	}
	if (!is_token(words[3], "_") || strlen(words[3]) > ID_BYTES_MAX) {
		error_line(out, "the case is not a name", words[3]);
		return true;
	}
	request.id = words[1];
	request.timeout_ms = (unsigned int)timeout_ms;
	request.name = words[3];
	for (size_t i = 4; i < count; i++) {
		const char *wrong = add_param(&request, words[i]);

		if (wrong) {
			error_line(out, wrong, words[i]);
			return true;
		}
	}
	if (input_used == sizeof(input))
		watch.fd = -1;
	cases_ran = true;
	return runner_run(&request, &watch, out, &outcome);
}

/* evidence begin, evidence end: what a program that is none of ours left behind in between. */
static void command_evidence(const char *word, struct text *out)
{
	static struct reading begin, end;
	static bool begun;

	if (!strcmp(word, "begin")) {
		counters_begin(&begin, SCOPE_CASE);
	} else if (!strcmp(word, "end") && begun) {
		counters_end(&end, SCOPE_CASE);
		counters_settle(&begin, &end);
		counters_write_leaks(&begin, &end, out);
	} else {
		error_line(out, "expected evidence begin, then evidence end", NULL);
		return;
	}
	begun = !begun;
	text_add(out, "evidence done\n");
}

/* Answers one line; false when the conversation is over. */
static bool answer(char *line, size_t length, struct text *out)
{
	char *words[COUNTERS_MAX + PARAMS_MAX], *save = NULL;
	size_t count = 0;

	if (strlen(line) != length) {
		error_line(out, "the line has a NUL byte", NULL);
		return true;
	}
	for (char *word = strtok_r(line, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		if (count == ARRAY_SIZE(words)) {
			error_line(out, "the line has too many words", NULL);
			return true;
		}
		words[count++] = word;
	}
	if (!count)
		return true;
	if (!strcmp(words[0], "run"))
		return command_run(words, count, out);
	if (!strcmp(words[0], "counters")) {
		process_forget();
		counters_open(words + 1, count - 1, out);
		text_add(out, "counters done\n");
		case_note_harness_fds();
	} else if (!strcmp(words[0], "evidence") && count == 2) {
		command_evidence(words[1], out);
	} else if (!strcmp(words[0], "facts")) {
		facts(out);
	} else if (!strcmp(words[0], "jiffies")) {
		jiffies_tell(out);
	} else if (!strcmp(words[0], "topology")) {
		topology(out);
	} else if (!strcmp(words[0], "ping") && count == 2) {
		text_add(out, "pong ");
		text_add_escaped(out, words[1], strlen(words[1]), 64);
		text_add(out, "\n");
	} else if (!strcmp(words[0], "quit")) {
		return false;
	} else {
		error_line(out, "unknown command", words[0]);
	}
	return true;
}

int serve(void)
{
	static char line[LINE_BYTES_MAX];
	struct text out = { 0 };
	bool going = true;
	size_t length;

	signal(SIGPIPE, SIG_IGN);
	runner_init();
	text_add(&out, "payload 1 %s\n", farm_build_id);
	while (going && text_flush(&out, STDOUT_FILENO)) {
		if (cases_ran)	/* another may come, and its process is then at hand */
			process_prepare();
		switch (next_line(line, &length)) {
		case LINE_END:
			going = false;
			break;
		case LINE_TOO_LONG:
			error_line(&out, "the line is too long", NULL);
			break;
		case LINE_OK:
			going = answer(line, length, &out);
			break;
		}
	}
	text_flush(&out, STDOUT_FILENO);
	free(out.bytes);
	return 0;
}
