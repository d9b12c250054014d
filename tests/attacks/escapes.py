"""Ways out of the box: network, library, privileges, programs."""

from tests.attacks.world import (
    Attack,
    written,
    zero,
)

ESCAPES = [
    Attack(
        "network",
        "loopback, unix sockets of the host, names, raw and netlink sockets",
        written(
            before="""
        import socket
        def attempt(what, do):
            try:
                do()
                print("PWNED", what)
            except OSError as error:
                print("tried", what, type(error).__name__)
        attempt("loopback", lambda: socket.create_connection(("127.0.0.1", @PORT@), 2).sendall(b"here"))
        attempt("v6", lambda: socket.create_connection(("::1", @PORT@), 2))
        attempt("abstract", lambda: socket.socket(socket.AF_UNIX).connect("\\0mlsys-canary-@PORT@"))
        attempt("dns", lambda: socket.getaddrinfo("example.org", 80))
        attempt("udp", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 53)))
        attempt("raw", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
        """
        ),
        flags=("escape",),
        shows="tried loopback",
    ),
    Attack(
        "writes_the_library",
        "writes to the courseware, the interpreter and the system",
        written(
            before="""
        import os, sys, mlsysbook, numpy
        places = [mlsysbook.__file__, numpy.__file__, sys.executable, "/usr/bin/x", "/etc/passwd", "/course/lib/x.py", "/course/submission/x",
                  "/x", "/lib/x", sys.prefix + "/x", "@CLASS@/x", "@TMP@", "/proc/sys/kernel/hostname", "/proc/sysrq-trigger",
                  *(p + "/x.pth" for p in sys.path if p not in ("", "/submission"))]
        for place in places:
            for how in (lambda: open(place, "ab"), lambda: os.chmod(place, 0o777), lambda: os.rename(place, place + ".old")):
                try:
                    how()
                    print("PWNED", place)
                except OSError:
                    pass
        print("tried")
        """
        ),
        shows="tried",
        flags=("escape",),
    ),
    Attack(
        "privilege",
        "namespaces, mounts, devices, set-user-id, capabilities, keyrings",
        written(
            after="""
        import ctypes, os
        libc = ctypes.CDLL(None, use_errno=True)
        def attempt(what, result):
            print("PWNED" if result == 0 else "tried", what, ctypes.get_errno())
        attempt("unshare user", libc.unshare(0x10000000))
        attempt("unshare net", libc.unshare(0x40000000))
        attempt("mount", libc.mount(b"none", b"/tmp", b"tmpfs", 0, None))
        attempt("remount", libc.mount(b"none", b"/usr", None, 32, None))
        attempt("umount", libc.umount2(b"/course/lib", 2))
        attempt("chroot", libc.chroot(b"/tmp"))
        attempt("setuid", libc.setuid(0))
        attempt("hostname", libc.sethostname(b"x", 1))
        attempt("reboot", libc.reboot(0x89abcdef))
        attempt("ptrace 1", libc.ptrace(16, 1, 0, 0))
        attempt("nice", libc.setpriority(0, 0, -5))
        for path, mode, device in (("/tmp/sda", 0o60666, os.makedev(8, 0)), ("/tmp/mem", 0o20666, os.makedev(1, 1))):
            try:
                os.mknod(path, mode, device)
                print("PWNED", path)
            except OSError:
                pass
        try:
            os.chmod("/tmp", 0o777)
            with open("/tmp/suid", "wb") as f:
                f.write(open("/usr/bin/id", "rb").read())
            os.chmod("/tmp/suid", 0o4755)
            os.system("/tmp/suid > /tmp/who")
            if "uid=0" in open("/tmp/who").read():
                print("PWNED suid")
        except OSError:
            pass
        """
        ),
        shows="tried unshare",
        flags=("escape",),
    ),
    Attack(
        "decorator_default",
        "runs a program where a default value is computed",
        written(
            unbroadcast="""
        def unbroadcast(grad, shape, _=__import__("os").system("id > /tmp/id; touch @CLASS@/touched")):
            return np.zeros(shape)
        """
        ),
        zero("unbroadcast", "product"),
        flags=("escape",),
    ),
]
