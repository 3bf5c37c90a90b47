package fleet

// Account is what the reported properties of a device that has stopped must be like, as far as its
// requests and their answers tell.
type Account struct {
	Sent     int64 // reports, answered or not
	Accepted int64 // reports that the target acknowledged
	Lost     int64 // of those, how many are certain not to be in the twin: answers contradicted them
	// Low and High bound $version; both are 0 when the target told none.
	Low, High int64
	Last      Report // the last acknowledged report that spoke of connectivity; the zero value for none
	// Until is up to which $version connectivity must be that of Last. At a later one it may also be one of Open.
	Until int64
	Open  []string // connectivity of reports that were neither acknowledged nor refused
}

// Account is what a device's reported properties must be like once it has stopped; zero for a device that is not this fleet's.
func (f *Fleet) Account(index int) Account {
	d := f.devices[index].Load()
	if d == nil {
		return Account{}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	x := d.versions.State()
	return Account{
		Sent: x.Sent, Accepted: x.Accepted, Lost: x.Lost, Low: x.Low, High: x.High, Last: d.acked, Until: d.acked.Version + d.same, Open: x.Open,
	}
}
