package rest

import (
	"net/http"

	"github.com/twinfleet/twinfleet/internal/hub/rest/reply"
	"github.com/twinfleet/twinfleet/internal/iothub/jobs"
	"github.com/twinfleet/twinfleet/internal/iothub/query/paging"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
)

func (s *Server) createJob(w http.ResponseWriter, r *http.Request) error {
	var in jobs.Job
	if err := reply.Decode(r, &in); err != nil {
		return err
	}
	if in.JobID == "" {
		in.JobID = r.PathValue("id")
	}
	if err := s.admit(r, tier.ClassJob, 1); err != nil {
		return err
	}
	return answerJob(w)(s.opts.Jobs.Create(in))
}

func (s *Server) getJob(w http.ResponseWriter, r *http.Request) error {
	return answerJob(w)(s.opts.Jobs.Job(r.PathValue("id")))
}

func (s *Server) cancelJob(w http.ResponseWriter, r *http.Request) error {
	return answerJob(w)(s.opts.Jobs.Cancel(r.PathValue("id")))
}

func answerJob(w http.ResponseWriter) func(jobs.Job, error) error {
	return func(job jobs.Job, err error) error {
		if err != nil {
			return err
		}
		return reply.JSON(w, job)
	}
}

func (s *Server) listJobs(w http.ResponseWriter, r *http.Request) error {
	v := r.URL.Query()
	list := s.opts.Jobs.List(v.Get("jobType"), v.Get("jobStatus"))
	if list == nil {
		list = []jobs.Job{}
	}
	w.Header().Set(paging.HeaderItemType, "JobResponse")
	return reply.JSON(w, list)
}
