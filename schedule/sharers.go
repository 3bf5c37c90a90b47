package schedule

// Sharers are the devices of a group that have one connection with the i-th of them: of n devices as many as share one, in their order,
// and the last connection has those who are left. They are the ones from first to before last.
func Sharers(i, shared, n int) (first, last int) {
	shared = max(1, shared)
	first = i - i%shared
	return first, min(first+shared, n)
}
