"""The order desk: clicks answered live while 200,000 orders are repriced, as a job and inline. Run by `make demo`."""
