"""`/v1/jobs`: a job is submitted, looked at, waited for, followed and cancelled."""
