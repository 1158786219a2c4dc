/*
 * User-mode Linux on processors with AMX. Preloaded into it by lab/uml.py.
 *
 * Between a guest process's turns UML keeps its extended state (AVX and what came after) in a
 * buffer that it was built with. AMX makes the state larger than that. Reading it fills the
 * buffer as far as it goes; but writing back less than the whole is refused (the kernel's
 * xstateregs_set), and UML ends the process: the first one, so that the guest dies or hangs.
 * Here what is written is completed by what is there.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

static char whole[1 << 16] __attribute__((aligned(64)));

long ptrace(enum __ptrace_request request, ...)
{
	static long (*next)(enum __ptrace_request, ...);
	va_list rest;

	va_start(rest, request);
	int pid = va_arg(rest, int);
	void *kind = va_arg(rest, void *);
	void *data = va_arg(rest, void *);
	va_end(rest);
	if (!next)
		next = dlsym(RTLD_NEXT, "ptrace");
	if (request == PTRACE_SETREGSET && (long)kind == NT_X86_XSTATE) {
		struct iovec *part = data, all = { whole, sizeof whole };

		if (next(PTRACE_GETREGSET, pid, kind, &all) == 0 && all.iov_len > part->iov_len) {
			memcpy(whole, part->iov_base, part->iov_len);
			return next(PTRACE_SETREGSET, pid, kind, &all);
		}
	}
	return next(request, pid, kind, data);
}
