"""What a process gives up for good before it runs code that it does not trust.

The outer sandbox (bubblewrap, sandlock, sandbox-exec) hides files and the network from all that is inside. This second
layer holds between the processes inside: no new processes, no signals, no look into one another's memory, no sockets,
no change of a file's mode, owner or times, and limits on CPU time, memory, file size and open files.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import struct
import sys

FILE_BYTES, OPEN_FILES = 8 << 20, 32
LINUX = sys.platform == "linux"
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 4, 22, 24, 38
_SIGKILL, _EPERM, _ENOSYS, _CLONE_THREAD = 9, 1, 38, 0x10000

# Audit architecture, then the numbers of the system calls below (asm/unistd_64.h, asm-generic/unistd.h).
_ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
_DENIED = {  # name: (x86_64, aarch64); None where the architecture has no such call
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281),
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "pidfd_send_signal": (424, 424), "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438), "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "process_madvise": (440, 440), "process_mrelease": (448, 448), "kcmp": (312, 272), "perf_event_open": (298, 241),
    "socket": (41, 198), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "bpf": (321, 280), "userfaultfd": (323, 282), "add_key": (248, 217), "request_key": (249, 218),
    "keyctl": (250, 219), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430), "fsmount": (432, 432),
    "mount_setattr": (442, 442), "unshare": (272, 97), "setns": (308, 268), "personality": (135, 92),
    "init_module": (175, 105), "finit_module": (313, 273), "kexec_load": (246, 104), "reboot": (169, 142),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "fanotify_init": (300, 262),
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "msgget": (68, 186),
    "semget": (64, 190), "mq_open": (240, 180), "setpriority": (141, 140), "ioprio_set": (251, 30),
    "sched_setparam": (142, 118), "sched_setscheduler": (144, 119), "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274), "syslog": (103, 116),
    # Landlock has no say in these: without them a program under sandlock could change the mode of any file of its user.
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, None),
    "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54), "utime": (132, None), "utimes": (235, None),
    "futimesat": (261, None), "utimensat": (280, 88), "setxattr": (188, 5), "lsetxattr": (189, 6),
    "fsetxattr": (190, 7), "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
    "setxattrat": (463, 463), "removexattrat": (466, 466), "file_setattr": (469, 469), "inotify_init": (253, None),
    "inotify_init1": (294, 26), "inotify_add_watch": (254, 27),
}  # fmt: skip
_CLONE, _CLONE3, _PRLIMIT64, _PRCTL = (56, 220), (435, 435), (302, 261), (157, 167)

_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_NUMBER, _ARCH, _FIRST_ARGUMENT = 0, 4, 16


def _refuse(errno: int) -> int:
    return 0x00050000 | errno


def _when(number: int | None, *then: tuple) -> list[tuple]:
    """Run `then` (which must return) for the system call `number`, else step over it."""
    return [] if number is None else [(_JUMP_EQUAL, 0, len(then), number), *then]


def filter_program(machine: str) -> list[tuple[int, int, int, int]]:
    """The classic BPF program (code, jump true, jump false, operand) for this architecture."""
    arch, column = _ARCHITECTURES[machine]
    allow, refuse = (_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _refuse(_EPERM))
    argument = (_LOAD, 0, 0, _FIRST_ARGUMENT)
    program = [(_LOAD, 0, 0, _ARCH), (_JUMP_EQUAL, 1, 0, arch), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, _NUMBER)]
    program += [(_JUMP_AT_LEAST, 0, 1, 0x40000000), refuse]  # the x32 numbers would be a way around the list
    for numbers in _DENIED.values():
        program += _when(numbers[column], refuse)
    program += _when(_CLONE3[column], (_RETURN, 0, 0, _refuse(_ENOSYS)))  # its flags are out of reach: libc uses clone
    program += _when(_CLONE[column], argument, (_JUMP_BITS, 0, 1, _CLONE_THREAD), allow, refuse)
    program += _when(_PRLIMIT64[column], argument, (_JUMP_EQUAL, 0, 1, 0), allow, refuse)  # own limits only
    program += _when(_PRCTL[column], argument, (_JUMP_EQUAL, 0, 1, _PR_SET_PDEATHSIG), refuse, allow)
    return [*program, allow]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]


class Hardening:
    """Prepared once by the supervisor, so that a new process only has to call `confine`."""

    def __init__(self):
        self._libc = ctypes.CDLL(None, use_errno=True)
        if LINUX:
            program = filter_program(platform.machine())
            packed = b"".join(struct.pack("HBBI", *instruction) for instruction in program)
            self._buffer = ctypes.create_string_buffer(packed, len(packed))
            self._filter = _Program(len(program), ctypes.addressof(self._buffer))

    def prepare(self) -> None:
        """For the supervisor: no privileges to lose later, none to gain."""
        if not LINUX:
            return
        self._prctl(_PR_SET_NO_NEW_PRIVS, 1)
        self._libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
        for capability in range(64):
            self._libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
        header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
        if self._libc.capset(header, none) != 0:
            raise OSError(ctypes.get_errno(), "capset refused")

    def confine(self, cpu_seconds: int, memory_bytes: int) -> None:
        """For a process about to run code: limits, then the system-call filter. There is no way back."""
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 1))  # SIGXCPU; a second later SIGKILL
        resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
        resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if not LINUX:
            resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
            return
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
        self._prctl(_PR_SET_PDEATHSIG, _SIGKILL)
        self._prctl(_PR_SET_SECCOMP, 2, ctypes.addressof(self._filter))

    def _prctl(self, option: int, value: int, pointer: int = 0) -> None:
        if self._libc.prctl(option, value, ctypes.c_void_p(pointer), 0, 0) != 0:
            raise OSError(ctypes.get_errno(), f"prctl({option}) refused")


def close_all_but(kept: dict[int, int]) -> None:
    """Keep `kept` (number to have → number it has now) and nothing else open."""
    high = {want: os.dup2(have, 100 + want) for want, have in kept.items()}
    for want, have in high.items():
        os.dup2(have, want)
    first = 0
    for fd in [*sorted(high), os.sysconf("SC_OPEN_MAX")]:
        if first < fd:  # CPython 3.11 takes the empty range (0, 0) for everything
            os.closerange(first, fd)
        first = fd + 1
