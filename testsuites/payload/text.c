/* SPDX-License-Identifier: MIT */
/* Strings in and out: growing text, escaping, parsing, names of errors and signals. */
#include "harness.h"

#include <ctype.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_BYTES 256		/* most of what is added at once is shorter */

static void reserve(struct text *text, size_t more)
{
	size_t need = text->used + more + 1;

	if (need <= text->size)
		return;
	if (need < 2 * text->size)
		need = 2 * text->size;
	if (need < 4096)
		need = 4096;
	text->bytes = realloc(text->bytes, need);
	if (!text->bytes)
		abort();
	text->size = need;
}

void text_add_bytes(struct text *text, const char *bytes, size_t count)
{
	reserve(text, count);
	memcpy(text->bytes + text->used, bytes, count);
	text->used += count;
	text->bytes[text->used] = '\0';
}

void text_add(struct text *text, const char *fmt, ...)
{
	va_list args;
	size_t room;
	int need;

	reserve(text, LINE_BYTES);
	room = text->size - text->used;
	va_start(args, fmt);
	need = vsnprintf(text->bytes + text->used, room, fmt, args);
	va_end(args);
	if (need < 0)
		return;
	if ((size_t)need >= room) {	/* longer than lines are: once more, into enough */
		reserve(text, (size_t)need);
		va_start(args, fmt);
		vsnprintf(text->bytes + text->used, (size_t)need + 1, fmt, args);
		va_end(args);
	}
	text->used += (size_t)need;
}

void text_add_escaped(struct text *text, const char *bytes, size_t count, size_t limit)
{
	size_t kept = count < limit ? count : limit, plain = 0;

	for (size_t i = 0; i < kept; i++) {
		unsigned char byte = (unsigned char)bytes[i];

		if (byte >= 0x20 && byte < 0x7f && byte != '\\') {
			plain++;
			continue;
		}
		text_add_bytes(text, &bytes[i - plain], plain);
		plain = 0;
		if (byte == '\\')
			text_add_bytes(text, "\\\\", 2);
		else
			text_add(text, "\\x%02x", byte);
	}
	text_add_bytes(text, &bytes[kept - plain], plain);
	if (kept < count)
		text_add(text, " [%zu bytes more]", count - kept);
}

void text_add_json(struct text *text, const char *string)
{
	text_add_bytes(text, "\"", 1);
	for (const char *c = string; *c; c++) {
		unsigned char byte = (unsigned char)*c;

		if (byte == '"' || byte == '\\')
			text_add(text, "\\%c", byte);
		else if (byte < 0x20)
			text_add(text, "\\u%04x", byte);
		else
			text_add_bytes(text, c, 1);
	}
	text_add_bytes(text, "\"", 1);
}

bool text_flush(struct text *text, int fd)
{
	size_t done = 0;

	while (done < text->used) {
		ssize_t wrote = write(fd, text->bytes + done, text->used - done);

		if (wrote > 0) {
			done += (size_t)wrote;
		} else if (wrote < 0 && errno == EAGAIN) {
			struct pollfd ready = { .fd = fd, .events = POLLOUT };

			poll(&ready, 1, -1);
		} else if (wrote == 0 || errno != EINTR) {
			return false;
		}
	}
	text->used = 0;
	return true;
}

bool is_token(const char *string, const char *also)
{
	if (!*string)
		return false;
	for (; *string; string++)
		if (!isalnum((unsigned char)*string) && !strchr(also, *string))
			return false;
	return true;
}

bool parse_u64(const char *string, uint64_t *value)
{
	char *end;

	if (!isdigit((unsigned char)*string))
		return false;
	errno = 0;
	*value = strtoull(string, &end, strncmp(string, "0x", 2) ? 10 : 16);
	return !*end && !errno && end[-1] != 'x';
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)tolower((unsigned char)c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool percent_decode(char *string)
{
	char *out = string;

	for (const char *in = string; *in; in++) {
		if (*in == '%') {
			int high = hex_digit(in[1]);
			int low = high < 0 ? -1 : hex_digit(in[2]);

			if (low < 0 || high * 16 + low == 0)
				return false;
			*out++ = (char)(high * 16 + low);
			in += 2;
		} else {
			*out++ = *in;
		}
	}
	*out = '\0';
	return true;
}

void format_number(double value, char *out, size_t size)
{
	if (fabs(value) < 9007199254740992.0 && value == (double)(int64_t)value) {
		snprintf(out, size, "%lld", (long long)value);
		return;
	}
	for (int digits = 6; digits <= 17; digits++) {
		snprintf(out, size, "%.*g", digits, value);
		if (strtod(out, NULL) == value)
			return;
	}
}

static const struct {
	int value;
	const char *name;
} errors[] = {
#define E(name) { name, #name }
	E(EPERM),      E(ENOENT),    E(ESRCH),	   E(EINTR),	 E(EIO),	E(ENXIO),
	E(E2BIG),      E(ENOEXEC),   E(EBADF),	   E(ECHILD),	 E(EAGAIN),	E(ENOMEM),
	E(EACCES),     E(EFAULT),    E(EBUSY),	   E(EEXIST),	 E(EXDEV),	E(ENODEV),
	E(ENOTDIR),    E(EISDIR),    E(EINVAL),	   E(ENFILE),	 E(EMFILE),	E(ENOTTY),
	E(ETXTBSY),    E(EFBIG),     E(ENOSPC),	   E(ESPIPE),	 E(EROFS),	E(EMLINK),
	E(EPIPE),      E(EDOM),	     E(ERANGE),	   E(EDEADLK),	 E(ENAMETOOLONG), E(ENOSYS),
	E(ENOTEMPTY),  E(ELOOP),     E(ENODATA),   E(ETIME),	 E(EPROTO),	E(EBADMSG),
	E(EOVERFLOW),  E(EILSEQ),    E(ENOTSUP),   E(EADDRINUSE), E(ENOBUFS),	E(ETIMEDOUT),
	E(EALREADY),   E(EINPROGRESS), E(ESTALE),  E(EREMOTEIO), E(ECANCELED),	E(EOWNERDEAD),
	E(ENOTSOCK),   E(EHOSTDOWN), E(ENOLINK),   E(ECONNREFUSED), E(ECONNRESET),
#undef E
};

const char *errname(int err)
{
	static _Thread_local char unknown[16];

	if (err < 0)
		err = -err;
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++)
		if (errors[i].value == err)
			return errors[i].name;
	snprintf(unknown, sizeof(unknown), "%d", err);
	return unknown;
}

int errvalue(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++)
		if (!strcmp(errors[i].name, name))
			return errors[i].value;
	return -1;
}

const char *signal_name(int number)
{
	static const struct {
		int number;
		const char *name;
	} names[] = {
#define S(name) { name, #name }
		S(SIGHUP),  S(SIGINT),	S(SIGQUIT), S(SIGILL),	S(SIGTRAP), S(SIGABRT), S(SIGBUS),
		S(SIGFPE),  S(SIGKILL), S(SIGUSR1), S(SIGSEGV), S(SIGUSR2), S(SIGPIPE), S(SIGALRM),
		S(SIGTERM), S(SIGXCPU), S(SIGXFSZ), S(SIGSYS),
#undef S
	};
	static char unknown[24];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (names[i].number == number)
			return names[i].name;
	snprintf(unknown, sizeof(unknown), "signal %d", number);
	return unknown;
}
