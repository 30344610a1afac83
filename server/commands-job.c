/* SPDX-License-Identifier: MIT */
/*
 * commands-job.c - jobs as the protocol shows them (J1). Main thread.
 */
#include <string.h>

#include "graph/create.h"
#include "graph/job.h"
#include "server/command.h"
#include "server/commands.h"
#include "server/monitor.h"
#include "server/qmp.h"

static void job_changed(const struct job *job)
{
	monitor_event("JOB_STATUS_CHANGE",
		      json_pack("{s:s,s:s}", "status",
				job_status_name(job->status), "id", job->id));
}

void job_events_start(void)
{
	job_set_listener(job_changed);
}

static json_t *job_describe(const struct job *job)
{
	json_t *object = json_pack("{s:s,s:s,s:s,s:I,s:I}", "id", job->id,
		"type", job->ops->type, "status", job_status_name(job->status),
		"current-progress", (json_int_t)job->current,
		"total-progress", (json_int_t)job->total);

	if (!job->err)
		return object;
	json_object_set_new(object, "error", qmp_error_text(job->err));
	qmp_error_explain(object, job->err);
	return object;
}

json_t *cmd_query_jobs(json_t *args, struct error **err)
{
	json_t *list = json_array();

	(void)args;
	(void)err;
	for (const struct job *job = job_first(); job; job = job->next)
		json_array_append_new(list, job_describe(job));
	return list;
}

json_t *cmd_blockdev_create(json_t *args, struct error **err)
{
	if (create_start(arg_string(args, "job-id", ""),
			 json_object_get(args, "options"), err) < 0)
		return NULL;
	return json_object();
}

static json_t *job_verb(json_t *args, enum job_verb verb, struct error **err)
{
	struct job *job = job_find(arg_string(args, "id", ""), err);

	if (!job || co_job_verb(job, verb, err) < 0)
		return NULL;
	return json_object();
}

json_t *cmd_job_pause(json_t *args, struct error **err)
{
	return job_verb(args, JOB_PAUSE, err);
}

json_t *cmd_job_resume(json_t *args, struct error **err)
{
	return job_verb(args, JOB_RESUME, err);
}

json_t *cmd_job_cancel(json_t *args, struct error **err)
{
	return job_verb(args, JOB_CANCEL, err);
}

json_t *cmd_job_complete(json_t *args, struct error **err)
{
	return job_verb(args, JOB_COMPLETE, err);
}

json_t *cmd_job_finalize(json_t *args, struct error **err)
{
	return job_verb(args, JOB_FINALIZE, err);
}

json_t *cmd_job_dismiss(json_t *args, struct error **err)
{
	return job_verb(args, JOB_DISMISS, err);
}
