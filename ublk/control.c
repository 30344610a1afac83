/* SPDX-License-Identifier: MIT */
/*
 * control.c - the control thread, and the commands it runs (A6, U7, U8).
 *
 * Two threads: `main` makes calls and waits for them with a deadline; `control`
 * takes them from a list under a lock, gives them to the kernel and posts the
 * answers. Nearly all commands block, so the kernel runs each on a worker of
 * the control thread's ring: several are under way at once.
 *
 * A call belongs to main before it is sent and after its answer; in between
 * nobody touches it but the control thread and the kernel. It is late work
 * (A38): one whose waiter gave up is freed when the answer comes.
 */
#include "ublk/control.h"

#include <errno.h>
#include <liburing.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "runtime/late.h"

/* Device numbers are minor ones. */
#define UBLK_IDS (1u << 20)

struct ublk_call {
	struct late work;
	struct message answer;
	struct ublk_call *next;
	unsigned op;
	struct ublksrv_ctrl_cmd cmd;
	union {
		struct ublksrv_ctrl_dev_info info;
		struct ublk_params params;
		uint64_t features;
	} payload;
	int res;
	/* main */
	struct wait_event answered;
	struct ublk_call *next_sent;
};

/* A coroutine that waits to be the one who adds or deletes. */
struct turn {
	struct turn *next;
	struct wait_event mine;
};

static struct {
	/* main */
	bool open, opening;
	int fd;
	uint64_t features;
	struct ublk_call *sent;		/* in the kernel, or on their way */
	bool add_del_busy;		/* an ADD or DEL is in the kernel */
	unsigned busy_op;
	uint32_t busy_id;
	struct turn *turns, **last_turn;	/* who waits for that */
	pthread_t thread;
	struct io_thread *main;
	/* both */
	pthread_mutex_t lock;		/* protects first, last, stop */
	struct ublk_call *first, **last;
	bool stop;
	int wake_fd;
	/* control */
	struct io_uring ring;
	uint64_t woken;
} control = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.last = &control.first,
	.last_turn = &control.turns,
	.fd = -1, .wake_fd = -1,
};

/* --- control thread --- */

static struct io_uring_sqe *control_sqe(void)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&control.ring);

	while (!sqe) {
		io_uring_submit(&control.ring);
		sqe = io_uring_get_sqe(&control.ring);
	}
	/* twice the size of the struct (SQE128) */
	memset(sqe, 0, 2 * sizeof(*sqe));
	return sqe;
}

static void control_arm(void)
{
	struct io_uring_sqe *sqe = control_sqe();

	io_uring_prep_read(sqe, control.wake_fd, &control.woken,
			   sizeof(control.woken), 0);
	sqe->user_data = 0;
}

static void control_send(struct ublk_call *call)
{
	struct io_uring_sqe *sqe = control_sqe();

	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = control.fd;
	sqe->cmd_op = call->op;
	sqe->user_data = (uintptr_t)call;
	memcpy(sqe->cmd, &call->cmd, sizeof(call->cmd));
}

/* False when the thread is to end. */
static bool control_take(void)
{
	struct ublk_call *call;
	bool go_on;

	pthread_mutex_lock(&control.lock);
	call = control.first;
	control.first = NULL;
	control.last = &control.first;
	go_on = !control.stop;
	pthread_mutex_unlock(&control.lock);
	while (call) {
		struct ublk_call *next = call->next;

		control_send(call);
		call = next;
	}
	return go_on;
}

static void control_answer(struct ublk_call *call, int res)
{
	pthread_mutex_lock(&control.lock);
	/* after stop, main may be gone: what is late then stays unanswered */
	if (!control.stop) {
		call->res = res;
		thread_post(control.main, &call->answer);
	}
	pthread_mutex_unlock(&control.lock);
}

static void *control_thread(void *arg)
{
	struct io_uring_cqe *cqe;
	bool go_on = true;

	(void)arg;
	control_arm();
	while (go_on) {
		struct ublk_call *call;
		int res;

		io_uring_submit(&control.ring);
		if (io_uring_wait_cqe(&control.ring, &cqe))
			continue;
		call = (struct ublk_call *)(uintptr_t)cqe->user_data;
		res = cqe->res;
		io_uring_cqe_seen(&control.ring, cqe);
		if (call) {
			control_answer(call, res);
		} else {
			go_on = control_take();
			control_arm();
		}
	}
	return NULL;
}

/* --- main thread --- */

/* Passes the turn on, if anybody waits: then it stays busy. */
static void add_del_over(void)
{
	struct turn *turn = control.turns;

	control.add_del_busy = turn;
	if (!turn)
		return;
	control.turns = turn->next;
	if (!control.turns)
		control.last_turn = &control.turns;
	wait_event_set(&turn->mine);
}

static void turn_give_up(struct turn *turn)
{
	struct turn **at = &control.turns;

	while (*at != turn)
		at = &(*at)->next;
	*at = turn->next;
	if (!*at)
		control.last_turn = at;
}

static bool is_add_del(unsigned op)
{
	return op == UBLK_U_CMD_ADD_DEV || op == UBLK_U_CMD_DEL_DEV ||
	       op == UBLK_U_CMD_DEL_DEV_ASYNC;
}

static void control_post(struct ublk_call *call)
{
	uint64_t one = 1;
	ssize_t n;

	call->next_sent = control.sent;
	control.sent = call;
	pthread_mutex_lock(&control.lock);
	call->next = NULL;
	*control.last = call;
	control.last = &call->next;
	pthread_mutex_unlock(&control.lock);
	n = write(control.wake_fd, &one, sizeof(one));
	assert(n == sizeof(one));
}

static void call_answered(struct message *msg)
{
	struct ublk_call *call = container_of(msg, struct ublk_call, answer);
	struct ublk_call **at = &control.sent;

	while (*at != call)
		at = &(*at)->next_sent;
	*at = call->next_sent;
	wait_event_set(&call->answered);
}

static void co_call_send(struct ublk_call *call)
{
	bool answered;

	call->answered = (struct wait_event) { 0 };
	control_post(call);
	answered = co_wait_event(&call->answered, WAIT_FOREVER);
	assert(answered);
}

static void call_run(struct late *work)
{
	struct ublk_call *call = container_of(work, struct ublk_call, work);

	co_call_send(call);
	/* nobody waits for this device: it goes again, in this turn */
	if (work->lost && call->op == UBLK_U_CMD_ADD_DEV && !call->res) {
		call->cmd.dev_id = call->payload.info.dev_id;
		call->op = UBLK_U_CMD_DEL_DEV_ASYNC;
		call->cmd.addr = 0;
		call->cmd.len = 0;
		co_call_send(call);
	}
	if (is_add_del(call->op))
		add_del_over();
}

static void call_undo(struct late *work)
{
	free(container_of(work, struct ublk_call, work));
}

static const char *op_name(unsigned op)
{
	switch (op) {
	case UBLK_U_CMD_ADD_DEV:
		return "ADD_DEV";
	case UBLK_U_CMD_DEL_DEV:
	case UBLK_U_CMD_DEL_DEV_ASYNC:
		return "DEL_DEV";
	case UBLK_U_CMD_START_DEV:
		return "START_DEV";
	case UBLK_U_CMD_STOP_DEV:
		return "STOP_DEV";
	case UBLK_U_CMD_TRY_STOP_DEV:
		return "TRY_STOP_DEV";
	case UBLK_U_CMD_SET_PARAMS:
		return "SET_PARAMS";
	case UBLK_U_CMD_GET_DEV_INFO:
		return "GET_DEV_INFO";
	case UBLK_U_CMD_UPDATE_SIZE:
		return "UPDATE_SIZE";
	default:
		return "GET_FEATURES";
	}
}

/* What the kernel means by the errors that users meet. */
static int call_failed(const struct ublk_call *call, struct error **err)
{
	int rc = -call->res;
	const char *why = strerror(rc);

	if (call->op == UBLK_U_CMD_ADD_DEV) {
		if (rc == EEXIST)
			return error_set(err, EBUSY, "/dev/ublkb%u is taken: "
					 "there is a ublk device %u already",
					 call->cmd.dev_id, call->cmd.dev_id);
		if (rc == EINVAL && call->cmd.dev_id >= UBLK_IDS)
			return error_set(err, rc, "there can be no "
					 "/dev/ublkb%u: ublk has numbers up to "
					 "%u", call->cmd.dev_id, UBLK_IDS - 1);
		if (rc == EACCES)
			why = "the kernel's limit of devices is reached "
			      "(ublk_drv.ublks_max)";
		else if (rc == EPERM)
			why = "no permission: ublk devices need CAP_SYS_ADMIN";
		return error_set(err, rc, "cannot add a ublk device: %s", why);
	}
	return error_set(err, rc, "%s of ublk device %u failed: %s",
			 op_name(call->op), call->cmd.dev_id, why);
}

static int call_timed_out(unsigned op, uint32_t id, struct error **err)
{
	struct utsname uts;

	uname(&uts);
	return error_set(err, ETIMEDOUT,
			 "%s of ublk device %d has not returned for %llu s "
			 "(kernel %s); the device is stuck", op_name(op),
			 (int)id, UBLK_CONTROL_TIMEOUT_NS / 1000000000,
			 uts.release);
}

/* Until no ADD or DEL is in the kernel; then it is the caller's turn. */
static int co_add_del_turn(unsigned op, uint32_t id, struct error **err)
{
	struct turn turn = { 0 };

	if (control.add_del_busy) {
		*control.last_turn = &turn;
		control.last_turn = &turn.next;
		if (!co_wait_event(&turn.mine, UBLK_CONTROL_TIMEOUT_NS)) {
			turn_give_up(&turn);
			return error_set(err, ETIMEDOUT,
					 "%s of a ublk device cannot begin: "
					 "%s of device %d does not return",
					 op_name(op), op_name(control.busy_op),
					 (int)control.busy_id);
		}
	}
	control.add_del_busy = true;
	control.busy_op = op;
	control.busy_id = id;
	return 0;
}

static struct ublk_call *call_new(unsigned op, uint32_t id, uint64_t data,
				  size_t payload, struct error **err)
{
	struct ublk_call *call = calloc(1, sizeof(*call));

	if (!call) {
		error_set(err, ENOMEM, "no memory for %s", op_name(op));
		return NULL;
	}
	call->work.run = call_run;
	call->work.undo = call_undo;
	call->answer.fn = call_answered;
	call->op = op;
	call->cmd.dev_id = id;
	call->cmd.queue_id = UBLK_QUEUE_ID_NONE;
	call->cmd.data[0] = data;
	call->cmd.len = (uint16_t)payload;
	if (payload)
		call->cmd.addr = (uintptr_t)&call->payload;
	return call;
}

/* Frees the call unless it succeeded or is still in the kernel. */
static int co_call_run(struct ublk_call *call, struct error **err)
{
	struct error *late CLEANUP_ERROR = NULL;
	unsigned op = call->op;
	uint32_t id;
	int rc = 0;

	if (is_add_del(op))
		rc = co_add_del_turn(op, call->cmd.dev_id, err);
	if (rc) {
		free(call);
		return rc;
	}
	id = call->cmd.dev_id;
	if (!co_late(&call->work, UBLK_CONTROL_TIMEOUT_NS, &late,
		     "%s of ublk device %d", op_name(op), (int)id))
		return call_timed_out(op, id, err);
	if (call->res < 0) {
		rc = call_failed(call, err);
		free(call);
	}
	return rc;
}

static int co_simple(unsigned op, uint32_t id, uint64_t data,
		     struct error **err)
{
	struct ublk_call *call = call_new(op, id, data, 0, err);
	int rc = call ? co_call_run(call, err) : -ENOMEM;

	if (!rc)
		free(call);
	return rc;
}

/* What info says goes to the kernel, and its answer comes back in it. */
static int co_exchange_info(unsigned op, uint32_t id,
			    struct ublksrv_ctrl_dev_info *info,
			    struct error **err)
{
	struct ublk_call *call = call_new(op, id, 0, sizeof(*info), err);
	int rc;

	if (!call)
		return -ENOMEM;
	call->payload.info = *info;
	rc = co_call_run(call, err);
	if (rc)
		return rc;
	*info = call->payload.info;
	free(call);
	return 0;
}

int co_ublk_add(struct ublksrv_ctrl_dev_info *info, struct error **err)
{
	return co_exchange_info(UBLK_U_CMD_ADD_DEV, info->dev_id, info, err);
}

int co_ublk_set_params(uint32_t id, const struct ublk_params *params,
		       struct error **err)
{
	struct ublk_call *call = call_new(UBLK_U_CMD_SET_PARAMS, id, 0,
					  sizeof(*params), err);
	int rc;

	if (!call)
		return -ENOMEM;
	call->payload.params = *params;
	call->payload.params.len = sizeof(*params);
	rc = co_call_run(call, err);
	if (!rc)
		free(call);
	return rc;
}

int co_ublk_get_info(uint32_t id, struct ublksrv_ctrl_dev_info *info,
		     struct error **err)
{
	memset(info, 0, sizeof(*info));
	return co_exchange_info(UBLK_U_CMD_GET_DEV_INFO, id, info, err);
}

int co_ublk_start(uint32_t id, struct error **err)
{
	return co_simple(UBLK_U_CMD_START_DEV, id, (uint64_t)getpid(), err);
}

int co_ublk_stop(uint32_t id, struct error **err)
{
	return co_simple(UBLK_U_CMD_STOP_DEV, id, 0, err);
}

int co_ublk_update_size(uint32_t id, uint64_t size, struct error **err)
{
	return co_simple(UBLK_U_CMD_UPDATE_SIZE, id, size >> 9, err);
}

int co_ublk_try_stop(uint32_t id, struct error **err)
{
	return co_simple(UBLK_U_CMD_TRY_STOP_DEV, id, 0, err);
}

int co_ublk_del(uint32_t id, bool wait, struct error **err)
{
	return co_simple(wait ? UBLK_U_CMD_DEL_DEV : UBLK_U_CMD_DEL_DEV_ASYNC,
			 id, 0, err);
}

bool ublk_control_pending(uint32_t id)
{
	const struct ublk_call *call = control.sent;

	while (call && call->cmd.dev_id != id)
		call = call->next_sent;
	return call;
}

uint64_t ublk_features(void)
{
	assert(control.open);
	return control.features;
}

static int co_features(struct error **err)
{
	struct ublk_call *call = call_new(UBLK_U_CMD_GET_FEATURES,
					  UBLK_DEV_ID_ANY, 0,
					  UBLK_FEATURES_LEN, err);
	int rc;

	if (!call)
		return -ENOMEM;
	rc = co_call_run(call, err);
	if (rc)
		return rc;
	control.features = call->payload.features;
	free(call);
	if (control.features & UBLK_F_USER_COPY)
		return 0;
	return error_set(err, ENOTSUP, "this kernel's ublk is too old: it has "
			 "no user copy (features %#llx)",
			 (unsigned long long)control.features);
}

/* Signals are main's. Returns a positive errno. */
static int thread_start(void)
{
	sigset_t all, old;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&control.thread, NULL, control_thread, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!rc)
		pthread_setname_np(control.thread, "ublk-control");
	return rc;
}

static int control_start(struct error **err)
{
	int rc;

	control.main = thread_self();
	control.stop = false;
	control.wake_fd = eventfd(0, EFD_CLOEXEC);
	if (control.wake_fd < 0)
		return error_set(err, errno, "no eventfd: %s",
				 strerror(errno));
	rc = -io_uring_queue_init(64, &control.ring, IORING_SETUP_SQE128);
	if (rc) {
		error_set(err, rc, "no ring for ublk's control commands: %s",
			  strerror(rc));
		goto close_wake_fd;
	}
	rc = thread_start();
	if (rc) {
		error_set(err, rc, "no thread for ublk's control commands: %s",
			  strerror(rc));
		goto exit_ring;
	}
	return 0;

exit_ring:
	io_uring_queue_exit(&control.ring);
close_wake_fd:
	close(control.wake_fd);
	control.wake_fd = -1;
	return -rc;
}

struct open_job {
	struct error **err;
	bool load;
	int fd;
};

static void control_open_run(void *arg)
{
	struct open_job *job = arg;

	job->fd = ublk_control_device(job->load, job->err);
}

int co_ublk_control_open(bool load, struct error **err)
{
	struct open_job job = { .err = err, .load = load };
	int rc;

	/* another export may be doing it */
	while (control.opening)
		co_sleep(1000000);
	if (control.open)
		return 0;
	control.opening = true;
	co_blocking(control_open_run, &job);
	rc = min(job.fd, 0);
	if (!rc) {
		control.fd = job.fd;
		rc = control_start(err);
		if (!rc) {
			rc = co_features(err);
			control.open = !rc;
			if (rc)
				ublk_control_close();
		}
		if (rc && control.fd >= 0) {
			close(control.fd);
			control.fd = -1;
		}
	}
	control.opening = false;
	return rc;
}

void ublk_control_close(void)
{
	uint64_t one = 1;
	ssize_t n;

	if (control.wake_fd < 0)
		return;
	control.open = false;
	pthread_mutex_lock(&control.lock);
	control.stop = true;
	pthread_mutex_unlock(&control.lock);
	n = write(control.wake_fd, &one, sizeof(one));
	assert(n == sizeof(one));
	if (control.sent) {
		/* Its exit waits in the kernel for the call that is stuck. */
		pthread_detach(control.thread);
		return;
	}
	pthread_join(control.thread, NULL);
	io_uring_queue_exit(&control.ring);
	close(control.wake_fd);
	close(control.fd);
	control.wake_fd = -1;
	control.fd = -1;
}
