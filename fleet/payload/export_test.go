package payload

// ReadRowsUpTo is ReadRows with another bound on the bytes of all rows.
func ReadRowsUpTo(file string, most int) (*Rows, error) { return readRows(file, most) }
