package oserr

import (
	"syscall"

	"golang.org/x/sys/windows"
)

// WSAEHOSTDOWN (Winsock error codes) is in no package.
const hostDown syscall.Errno = 10064

func numbers(m Meaning) []syscall.Errno {
	switch m {
	case Refused:
		return []syscall.Errno{windows.WSAECONNREFUSED, syscall.ECONNREFUSED}
	case Reset:
		return []syscall.Errno{
			windows.WSAECONNRESET, windows.WSAECONNABORTED, windows.WSAESHUTDOWN, windows.ERROR_BROKEN_PIPE, windows.ERROR_NETNAME_DELETED,
			syscall.ECONNRESET, syscall.ECONNABORTED, syscall.EPIPE,
		}
	case NoDescriptor:
		return []syscall.Errno{windows.WSAEMFILE, windows.ERROR_TOO_MANY_OPEN_FILES}
	case NoAddress:
		return []syscall.Errno{windows.WSAEADDRNOTAVAIL}
	case InUse:
		return []syscall.Errno{windows.WSAEADDRINUSE}
	case NetworkUnreachable:
		return []syscall.Errno{windows.WSAENETUNREACH, windows.WSAENETDOWN}
	case HostUnreachable:
		return []syscall.Errno{windows.WSAEHOSTUNREACH, hostDown}
	case Forbidden:
		return []syscall.Errno{windows.WSAEACCES, windows.ERROR_ACCESS_DENIED}
	case NoMemory:
		return []syscall.Errno{windows.WSAENOBUFS, windows.ERROR_NOT_ENOUGH_MEMORY}
	}
	return nil
}
