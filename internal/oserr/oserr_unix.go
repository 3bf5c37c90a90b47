//go:build unix

package oserr

import "syscall"

func numbers(m Meaning) []syscall.Errno {
	switch m {
	case Refused:
		return []syscall.Errno{syscall.ECONNREFUSED}
	case Reset:
		return []syscall.Errno{syscall.ECONNRESET, syscall.ECONNABORTED, syscall.EPIPE}
	case NoDescriptor:
		return []syscall.Errno{syscall.EMFILE, syscall.ENFILE}
	case NoAddress:
		return []syscall.Errno{syscall.EADDRNOTAVAIL}
	case InUse:
		return []syscall.Errno{syscall.EADDRINUSE}
	case NetworkUnreachable:
		return []syscall.Errno{syscall.ENETUNREACH, syscall.ENETDOWN}
	case HostUnreachable:
		return []syscall.Errno{syscall.EHOSTUNREACH, syscall.EHOSTDOWN}
	case Forbidden:
		return []syscall.Errno{syscall.EACCES, syscall.EPERM}
	case NoMemory:
		return []syscall.Errno{syscall.ENOBUFS, syscall.ENOMEM}
	}
	return nil
}
