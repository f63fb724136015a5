#include "workers/session_internal.h"

static void begin(struct session *s)
{
    s->in_gate = true;
    session_tls_start(s);
}

/* Was chosen: in_gate is set, and its place is given on if it is not used. */
static void open_turn(void *arg)
{
    struct session *s = arg;
    s->turn_due = false;
    if (s->step == SESSION_WAITS_FOR_TURN)
        session_tls_start(s);
    else
        session_gate_leave(s);
    session_turn(s);
}

void session_gate_enter(struct session *s)
{
    struct worker *w = s->worker;
    if (w->handshakes < WORKER_HANDSHAKES_MAX) {
        w->handshakes++;
        begin(s);
        return;
    }
    s->step = SESSION_WAITS_FOR_TURN;
    s->step_deadline_ms = session_now(s) + SESSION_TURN_MS;
    s->turn = (struct parcel){.open = open_turn, .arg = s};
    s->turn_due = true;
    s->in_queue = true;
    TAILQ_INSERT_TAIL(&w->queue, s, queue_link);
}

static void leave_queue(struct session *s)
{
    TAILQ_REMOVE(&s->worker->queue, s, queue_link);
    s->in_queue = false;
}

/* By parcel: each session's turn is its own. */
static void choose_next(struct worker *w)
{
    struct session *next = TAILQ_FIRST(&w->queue);
    if (next == NULL || w->handshakes >= WORKER_HANDSHAKES_MAX)
        return;
    leave_queue(next);
    next->in_gate = true;
    w->handshakes++;
    worker_post(w, &next->turn);
}

void session_gate_leave(struct session *s)
{
    if (s->in_queue) {
        leave_queue(s);
        s->turn_due = false;
    }
    if (!s->in_gate)
        return;
    s->in_gate = false;
    s->worker->handshakes--;
    choose_next(s->worker);
}

void session_gate_waited(struct session *s)
{
    s->step_deadline_ms = UINT64_MAX;
    if (!s->in_queue)
        return; /* it was chosen just now */
    leave_queue(s);
    s->turn_due = false;
    s->worker->handshakes++;
    begin(s);
}
