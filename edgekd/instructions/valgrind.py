"""Tells valgrind, from inside the program that it runs, to count from here and up to there.

A program talks to valgrind by a sequence of instructions that do nothing otherwise: four rotations by 128 bits in all,
then an exchange of a register with itself, the request's address in rax, the answer in rdx. Source: valgrind.h and
callgrind.h of valgrind (https://valgrind.org/docs/manual/manual-core-adv.html#manual-core-adv.clientreq).
"""

import ctypes
import mmap

from edgekd.errors import EnvironmentFault

RUNNING_ON_VALGRIND = 0x1001
DUMP_STATS = 0x43540000
START_INSTRUMENTATION = 0x43540004
STOP_INSTRUMENTATION = 0x43540005

CODE = bytes.fromhex(
    "4889f8"  # mov rax, rdi: the address of the request
    "31d2"  # xor edx, edx: the answer where there is no valgrind
    "48c1c703 48c1c70d 48c1c73d 48c1c733"  # rol rdi by 3, 13, 61 and 51
    "4887db"  # xchg rbx, rbx
    "4889d0"  # mov rax, rdx
    "c3"  # ret
)


class Valgrind:
    """The valgrind around this process, on x86-64.

    Raises:
        EnvironmentFault: there is none, or the system allows no program to make code.
    """

    def __init__(self) -> None:
        try:
            self._memory = mmap.mmap(-1, len(CODE), prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        except OSError as err:
            raise EnvironmentFault(
                f"this system lets no program make code ({err}), which is how a program tells valgrind where to count; "
                "allow it (SELinux: execmem), or count with perf"
            ) from err
        self._memory.write(CODE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self._ask = ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_void_p)(address)
        if not self.request(RUNNING_ON_VALGRIND):
            raise EnvironmentFault("no valgrind around this process; expected to be started by it")

    def request(self, code: int) -> int:
        """valgrind's answer to a request without arguments."""
        request = (ctypes.c_size_t * 6)(code)  # a name of its own: it must live as long as the call
        return int(self._ask(ctypes.addressof(request)))
