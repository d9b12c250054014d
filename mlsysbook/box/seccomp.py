"""System calls that student work has no use for, refused by the kernel: the smaller the door, the fewer its faults.

Namespaces, mounts and tracing would give code in the box more of the kernel to try; memory files and System V segments hold
memory that no process shows, so that without a control group nobody would see it grow. Refused is EPERM, except clone3,
which is ENOSYS: the C library then uses clone, whose flags a filter can read.
"""

import errno
import os
import platform
import struct

# name -> number on x86_64, aarch64. Source: arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h, Linux 6.6
_REFUSED = {
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432),
    "mount_setattr": (442, 442), "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "process_madvise": (440, 440), "pidfd_getfd": (438, 438), "kcmp": (312, 272), "bpf": (321, 280), "perf_event_open": (298, 241),
    "userfaultfd": (323, 282), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219), "memfd_create": (319, 279), "memfd_secret": (447, 447),
    "shmget": (29, 194), "shmat": (30, 196), "msgget": (68, 186), "semget": (64, 190), "mknodat": (259, 33),
    "open_by_handle_at": (304, 265), "quotactl": (179, 60), "swapon": (167, 224), "reboot": (169, 142), "init_module": (175, 105),
    "finit_module": (313, 273),
    "kexec_load": (246, 104), "acct": (163, 89), "settimeofday": (164, 170), "clock_settime": (227, 112), "adjtimex": (159, 171),
    "mknod": (133, None), "uselib": (134, None), "modify_ldt": (154, None), "iopl": (172, None), "ioperm": (173, None),
}
_CLONE, _CLONE3 = (56, 220), 435
_NAMESPACES = 0x7E020000                # CLONE_NEWUSER, NEWNET, NEWPID, NEWIPC, NEWUTS, NEWCGROUP and NEWNS
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}     # column above, AUDIT_ARCH
_LOAD, _EQUAL, _ABOVE, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_NUMBER, _ARCH, _FIRST_ARGUMENT = 0, 4, 16      # offsets in struct seccomp_data


def program(machine=None):
    """The filter as classic BPF, for `bwrap --seccomp`; None for a machine whose numbers we do not have."""
    column, arch = _MACHINES.get(machine or platform.machine(), (None, None))
    if arch is None:
        return None
    refuse = _ERRNO | errno.EPERM
    code = [(_LOAD, 0, 0, _ARCH), (_EQUAL, 1, 0, arch), (_RETURN, 0, 0, refuse), (_LOAD, 0, 0, _NUMBER)]
    if column == 0:                     # the x32 numbers name the same calls once more
        code += [(_ABOVE, 0, 1, 0x40000000), (_RETURN, 0, 0, refuse)]
    code += [(_EQUAL, 0, 1, _CLONE3), (_RETURN, 0, 0, _ERRNO | errno.ENOSYS)]
    for numbers in _REFUSED.values():
        if numbers[column] is not None:
            code += [(_EQUAL, 0, 1, numbers[column]), (_RETURN, 0, 0, refuse)]
    code += [(_EQUAL, 0, 3, _CLONE[column]), (_LOAD, 0, 0, _FIRST_ARGUMENT), (_ANY_BIT, 0, 1, _NAMESPACES), (_RETURN, 0, 0, refuse),
             (_RETURN, 0, 0, _ALLOW)]
    return b"".join(struct.pack("<HBBI", *c) for c in code)


def descriptor():
    """An open file that holds the filter, to be closed by the caller; None where there is none."""
    filter = program()
    if filter is None:
        return None
    read, write = os.pipe()
    os.write(write, filter)             # less than a pipe holds
    os.close(write)
    return read
