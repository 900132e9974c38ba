"""A program that a model wrote, run so that it can do little: `python -I confined.py FD SECONDS BYTES`, text on stdin.

It may compute and read files. The kernel refuses it other programs and processes, sockets, signals to others, and
every change of a file (seccomp), and ends it at its limits (rlimits). It cannot undo this. It is not a machine of its
own: it can read what this user can read, and tell one bit about it, whether it succeeded. Only for Linux on x86-64.

This file is run by its path and imports nothing of WeLIP.
"""

import ctypes
import os
import platform
import resource
import struct
import sys

UNCONFINED = 97
"""The status that says: the kernel cannot confine it, so it was not run."""
PASSED = b"passed"

_EPERM, _ENOSYS = 1, 38
_X86_64 = 0xC000003E
_LAST_KNOWN = 450
_WRITES = 0x1 | 0x2 | 0x40 | 0x200 | 0x400
"""O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_APPEND."""
_THREAD = 0x10000
"""CLONE_THREAD."""

# The numbers of system calls on x86-64 (arch/x86/entry/syscalls/syscall_64.tbl).
_REFUSED = (
    *(29, 30, 31, 64, 65, 66, 68, 69, 70, 71, 240),  # System V's and POSIX' memory, semaphores, messages
    *(41, 42, 43, 44, 46, 49, 50, 288, 307),  # sockets
    *(57, 58, 59, 322),  # fork, vfork, execve, execveat
    *(62, 129, 200, 234, 297, 424),  # signals to others
    *(76, 77, 82, 83, 84, 85, 86, 87, 88, 90, 91, 92, 93, 94, 132, 133, 235, 285),  # changes of files by path or number
    *(188, 189, 190, 197, 198, 199, 258, 259, 260, 261, 263, 264, 265, 266, 268, 280, 316),  # the same, relative; xattr
    *(101, 310, 311, 312, 434, 438, 440),  # other processes' memory and files
    *(105, 106, 109, 112, 113, 114, 116, 117, 119, 122, 123, 126, 141, 142, 144, 160, 203, 302, 314),  # ids, limits
    *(153, 155, 159, 161, 163, 164, 165, 166, 167, 168, 169, 170, 171, 172, 173, 179, 227, 305),  # the machine
    *(175, 176, 246, 248, 249, 250, 298, 300, 301, 303, 304, 308, 313, 320, 321, 323, 272),  # the kernel
    *(425, 426, 427, 428, 429, 430, 431, 432, 433, 442),  # io_uring, mounts
)


def confine(seconds: int, memory: int) -> None:
    """Limit this process. Raises `OSError` where the kernel does not."""
    for limit, value in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 64),
    ):
        resource.setrlimit(limit, (value, value))
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise OSError("not Linux on x86-64")
    code = _filter()
    buffer = ctypes.create_string_buffer(code)
    # struct sock_fprog: how many instructions, and where.
    program = struct.pack("HxxxxxxQ", len(code) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    where = ctypes.create_string_buffer(program)
    for call in ((38, 1, 0), (22, 2, ctypes.addressof(where))):  # PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP
        if libc.prctl(*(ctypes.c_ulong(one) for one in (*call, 0, 0))) != 0:
            raise OSError(ctypes.get_errno(), "prctl")


def _filter() -> bytes:
    """The filter as instructions of classic BPF (include/uapi/linux/seccomp.h, filter.h)."""
    load, equal, above, any_of, end = 0x20, 0x15, 0x25, 0x45, 0x06
    allow, refuse, unknown = 0x7FFF0000, 0x00050000 | _EPERM, 0x00050000 | _ENOSYS
    number, architecture = 0, 4

    def argument(at: int) -> int:
        return 16 + 8 * at  # its lower half

    steps = [(load, 0, 0, architecture), (equal, 1, 0, _X86_64), (end, 0, 0, 0x80000000), (load, 0, 0, number)]
    steps += [(above, 0, 1, _LAST_KNOWN), (end, 0, 0, unknown)]  # also the calls of x32, which begin at 0x40000000
    for call, at in ((2, 1), (257, 2)):  # open, openat
        steps += [(equal, 0, 4, call), (load, 0, 0, argument(at)), (any_of, 0, 1, _WRITES)]
        steps += [(end, 0, 0, refuse), (end, 0, 0, allow)]
    # clone: threads only. clone3 and openat2 keep their flags in memory, where a filter cannot look.
    steps += [(equal, 0, 4, 56), (load, 0, 0, argument(0)), (any_of, 1, 0, _THREAD)]
    steps += [(end, 0, 0, refuse), (end, 0, 0, allow)]
    for call in (435, 437):
        steps += [(equal, 0, 1, call), (end, 0, 0, unknown)]
    for call in _REFUSED:
        steps += [(equal, 0, 1, call), (end, 0, 0, refuse)]
    steps += [(end, 0, 0, allow)]
    return b"".join(struct.pack("HBBI", *step) for step in steps)


def main() -> None:
    """Run what stdin holds; write `PASSED`, or what it raised, to the file descriptor, and end."""
    told, seconds, memory = (int(one) for one in sys.argv[1:4])
    source = sys.stdin.buffer.read().decode()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    try:
        confine(seconds, memory)
    except OSError:
        os._exit(UNCONFINED)
    try:
        exec(compile(source, "<program>", "exec"), {"__name__": "__main__"})
    except BaseException as error:  # noqa: BLE001 - a program raises anything
        os.write(told, f"{type(error).__name__}: {error}".encode(errors="replace")[:500])
        os._exit(1)
    os.write(told, PASSED)
    os._exit(0)


if __name__ == "__main__":
    main()
