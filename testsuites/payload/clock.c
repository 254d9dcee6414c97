/* SPDX-License-Identifier: MIT */
/*
 * CLOCK_MONOTONIC without a system call, where the kernel gives every process the means to: the vDSO.
 *
 * musl 1.2.5 looks up the vDSO's functions by DT_HASH, which arm64's has no more since 6.12 (commit
 * 48f6430505c0, "arm64/vdso: Remove --hash-style=sysv"): its clock_gettime() is a system call there,
 * and none on kernels before, by which their times could not be held against each other. So it is
 * looked up here by DT_GNU_HASH; a vDSO that has none is left to musl.
 */
#include "harness.h"

#include <elf.h>
#include <stdint.h>
#include <string.h>
#include <sys/auxv.h>
#include <time.h>

#if defined(__aarch64__)	/* the names of vdso(7) */
#define VDSO_NAME "__kernel_clock_gettime"
#else
#define VDSO_NAME "__vdso_clock_gettime"
#endif

typedef int clock_fn(clockid_t clock, struct timespec *time);

struct symbols {
	const char *names;
	const Elf64_Sym *table;
	const uint32_t *hash;		/* DT_GNU_HASH: buckets, first symbol, filter words, shift */
};

static uint32_t gnu_hash(const char *name)
{
	uint32_t hash = 5381;

	while (*name)
		hash = hash * 33 + (unsigned char)*name++;
	return hash;
}

static const Elf64_Sym *find(const struct symbols *symbols, const char *name)
{
	uint32_t bucket_count = symbols->hash[0], first = symbols->hash[1];
	const uint32_t *buckets = symbols->hash + 4 + symbols->hash[2] * 2;
	const uint32_t *chain = buckets + bucket_count;
	uint32_t hash = gnu_hash(name), at = bucket_count ? buckets[hash % bucket_count] : 0;

	for (; at >= first && at; at++) {
		uint32_t seen = chain[at - first];

		if ((seen | 1) == (hash | 1) &&
		    !strcmp(symbols->names + symbols->table[at].st_name, name))
			return &symbols->table[at];
		if (seen & 1)
			return NULL;	/* the chain's end */
	}
	return NULL;
}

/* The vDSO's function, or libc's. */
static clock_fn *look_up(void)
{
	const Elf64_Ehdr *image = (const Elf64_Ehdr *)getauxval(AT_SYSINFO_EHDR);
	const char *start = (const char *)image, *base = NULL;
	const Elf64_Dyn *dynamic = NULL;
	struct symbols symbols = { 0 };
	const Elf64_Sym *symbol;

	if (!image)
		return clock_gettime;
	for (int i = 0; i < image->e_phnum; i++) {
		const Elf64_Phdr *part =
			(const Elf64_Phdr *)(start + image->e_phoff + (size_t)i * image->e_phentsize);

		if (part->p_type == PT_LOAD && !base)
			base = start + part->p_offset - part->p_vaddr;
		else if (part->p_type == PT_DYNAMIC)
			dynamic = (const Elf64_Dyn *)(start + part->p_offset);
	}
	if (!base || !dynamic)
		return clock_gettime;
	for (; dynamic->d_tag != DT_NULL; dynamic++) {
		const char *where = base + dynamic->d_un.d_ptr;

		if (dynamic->d_tag == DT_STRTAB)
			symbols.names = where;
		else if (dynamic->d_tag == DT_SYMTAB)
			symbols.table = (const Elf64_Sym *)where;
		else if (dynamic->d_tag == DT_GNU_HASH)
			symbols.hash = (const uint32_t *)where;
	}
	if (!symbols.names || !symbols.table || !symbols.hash)
		return clock_gettime;
	symbol = find(&symbols, VDSO_NAME);
	return symbol ? (clock_fn *)(base + symbol->st_value) : clock_gettime;
}

uint64_t now_ns(void)
{
	static clock_fn *monotonic;
	clock_fn *clock = __atomic_load_n(&monotonic, __ATOMIC_RELAXED);
	struct timespec now = { 0 };

	if (!clock) {
		clock = look_up();
		__atomic_store_n(&monotonic, clock, __ATOMIC_RELAXED);
	}
	if (clock(CLOCK_MONOTONIC, &now))
		clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}
