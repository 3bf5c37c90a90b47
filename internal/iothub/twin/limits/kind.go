package limits

// SectionKind tells the three sections of a twin apart.
type SectionKind uint8

// The sections of a twin.
const (
	Tags     SectionKind = iota // Written and read by the service alone; no metadata.
	Desired                     // Written by the service; metadata with versions.
	Reported                    // Written by the device; metadata.
)

// String is the name of the section in documents.
func (k SectionKind) String() string {
	switch k {
	case Desired:
		return "desired"
	case Reported:
		return "reported"
	default:
		return "tags"
	}
}

// maxSize is the largest computed size of the section.
func (k SectionKind) maxSize() int {
	switch k {
	case Desired:
		return MaxDesiredSize
	case Reported:
		return MaxReportedSize
	default:
		return MaxTagsSize
	}
}
