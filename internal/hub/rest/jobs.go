package rest

import (
	"errors"
	"net/http"

	"github.com/twinfleet/twinfleet/internal/hub/rest/reply"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/jobs"
	"github.com/twinfleet/twinfleet/internal/iothub/query/paging"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
)

func (s *Server) createJob(w http.ResponseWriter, r *http.Request) error {
	var in jobs.Job
	if err := reply.Decode(r, &in); err != nil {
		return err
	}
	in.JobID = r.PathValue("id") // whatever the body says
	if err := s.admit(r, tier.ClassJob, 1); err != nil {
		return err
	}
	return answerJob(w)(s.opts.Jobs.Create(r.Context(), in))
}

// unknownJob is what the service answers for a job that it does not know (seen at the service).
type unknownJob struct {
	JobID  string `json:"jobId"`
	Type   string `json:"type"`
	Status string `json:"status"`
}

func (s *Server) getJob(w http.ResponseWriter, r *http.Request) error {
	job, err := s.opts.Jobs.Job(r.PathValue("id"))
	if errors.Is(err, iothub.ErrJobNotFound) {
		return reply.JSON(w, unknownJob{r.PathValue("id"), jobs.Unknown, jobs.Unknown})
	}
	return answerJob(w)(job, err)
}

func (s *Server) cancelJob(w http.ResponseWriter, r *http.Request) error {
	return answerJob(w)(s.opts.Jobs.Cancel(r.Context(), r.PathValue("id")))
}

func answerJob(w http.ResponseWriter) func(jobs.Job, error) error {
	return func(job jobs.Job, err error) error {
		if err != nil {
			return err
		}
		return reply.JSON(w, job)
	}
}

// listJobs lists scheduled jobs in pages, as a query.
func (s *Server) listJobs(w http.ResponseWriter, r *http.Request) error {
	v := r.URL.Query()
	about := "jobs " + v.Get("jobType") + " " + v.Get("jobStatus")
	from, err := paging.Decode(about, r.Header.Get(paging.HeaderContinuation))
	if err != nil {
		return iothub.ErrArgumentInvalid.With("%v", err)
	}
	list, next := s.opts.Jobs.List(v.Get("jobType"), v.Get("jobStatus"), from.At, pageSize(r))
	if list == nil {
		list = []jobs.Job{}
	}
	w.Header().Set(paging.HeaderItemType, "JobResponse")
	if next > 0 {
		w.Header().Set(paging.HeaderContinuation, paging.Encode(about, paging.Position{At: next}))
	}
	return reply.JSON(w, list)
}
