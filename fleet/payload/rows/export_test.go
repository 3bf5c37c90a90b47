package rows

// ReadUpTo is Read with another bound on the bytes of all rows.
func ReadUpTo(file string, most int) (*Rows, error) { return read(file, most, open) }
