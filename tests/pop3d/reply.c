#include "tests/pop3d/reply.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define FILL_SIZE 16384
#define STATUS_MAX 1024

void reply_free(struct reply *reply)
{
    if (reply->content == CONTENT_BODY)
        body_close(&reply->body);
    reply->content = CONTENT_NONE;
    buffer_free(&reply->status);
    buffer_free(&reply->text);
    buffer_free(&reply->scratch);
}

void reply_start(struct reply *reply, const struct action *action)
{
    reply_free(reply);
    *reply = (struct reply){.action = action, .next = 1, .tail = "\r\n"};
}

void reply_status(struct reply *reply, const char *format, ...)
{
    char line[STATUS_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    buffer_consume(&reply->status, reply->status.size);
    buffer_add_text(&reply->status, line);
    buffer_add(&reply->status, "\r\n", 2);
}

void reply_add_text(struct reply *reply)
{
    reply->content = CONTENT_BODY;
    body_from_text(&reply->body,
                   (struct bytes){buffer_front(&reply->text), reply->text.size});
}

void reply_add_message(struct reply *reply, int fd, enum line_ends line_ends,
                       uint64_t top_lines)
{
    reply->content = CONTENT_BODY;
    body_from_file(&reply->body, fd);
    reply->body.line_ends = line_ends;
    reply->body.lines_left = top_lines;
}

void reply_add_listing(struct reply *reply, enum reply_content content,
                       const struct view *view)
{
    reply->content = content;
    reply->view = view;
}

static void drop_content(struct reply *reply)
{
    if (reply->content == CONTENT_BODY)
        body_close(&reply->body);
    reply->content = CONTENT_NONE;
}

static void replace_status(struct reply *reply, struct bytes text, bool line)
{
    buffer_consume(&reply->status, reply->status.size);
    buffer_add(&reply->status, text.data, text.size);
    if (line)
        buffer_add(&reply->status, "\r\n", 2);
}

static void replace_content(struct reply *reply, enum line_ends line_ends)
{
    drop_content(reply);
    reply->content = CONTENT_BODY;
    body_from_text(&reply->body, reply->action->body);
    reply->body.line_ends = line_ends;
}

void reply_bend(struct reply *reply, enum line_ends line_ends)
{
    const struct action *action = reply->action;
    if (action->silent) {
        drop_content(reply);
        reply->stage = REPLY_DONE;
        return;
    }
    if (action->reply.data != NULL || action->raw.data != NULL) {
        drop_content(reply);
        replace_status(reply, action->raw.data != NULL ? action->raw : action->reply,
                       action->raw.data == NULL);
    } else if (action->status.data != NULL) {
        replace_status(reply, action->status, true);
        if (action->status.size > 0 && action->status.data[0] == '-')
            drop_content(reply);
    }
    if (action->body.data != NULL)
        replace_content(reply, line_ends);
    if (reply->content == CONTENT_BODY) {
        reply->body.stuffing = action->stuffing;
        reply->body.keep_last_line = action->no_final_crlf;
    }
}

bool reply_has_message(const struct reply *reply)
{
    return reply->content == CONTENT_BODY && reply->body.fd >= 0;
}

static const struct edit *edit_of(const struct edit *edit, uint64_t number)
{
    while (edit != NULL && (number < edit->numbers.first || number > edit->numbers.last))
        edit = edit->next;
    return edit;
}

static void add_entry(struct reply *reply, uint64_t number, struct buffer *out)
{
    const struct edit *edit = edit_of(reply->action->edits, number);
    struct bytes format = {reply->content == CONTENT_UIDLS ? "%n %u" : "%n %s", 5};
    if (edit != NULL)
        format = edit->format;
    if (format.data == NULL)
        return;
    view_format(reply->view, number, format, &reply->scratch, out);
    buffer_add(out, "\r\n", 2);
}

static bool fill_listing(struct reply *reply, struct buffer *out)
{
    uint64_t count = reply->view->count;
    if (reply->next > count)
        return false;
    size_t limit = out->size + FILL_SIZE;
    while (reply->next <= count && out->size < limit) {
        uint64_t number = reply->action->reverse ? count + 1 - reply->next : reply->next;
        reply->next++;
        if (!view_is_deleted(reply->view, number))
            add_entry(reply, number, out);
    }
    if (reply->next > count && reply->action->extra.data != NULL) {
        buffer_add(out, reply->action->extra.data, reply->action->extra.size);
        buffer_add(out, "\r\n", 2);
    }
    return true;
}

static void fill_content(struct reply *reply, struct buffer *out)
{
    size_t before = out->size;
    bool more = false;
    if (reply->content == CONTENT_BODY)
        more = body_fill(&reply->body, out);
    else if (reply->content != CONTENT_NONE)
        more = fill_listing(reply, out);
    reply->content_sent += out->size - before;
    if (reply->content_sent > reply->action->truncate) {
        out->size -= (size_t)(reply->content_sent - reply->action->truncate);
        more = false;
    }
    if (!more)
        reply->stage = REPLY_REPEAT;
}

static void fill_repeat(struct reply *reply, struct buffer *out)
{
    const struct action *action = reply->action;
    size_t limit = out->size + FILL_SIZE;
    while (reply->repeated < action->repeat_count && out->size < limit) {
        struct format_values values = {.number = ++reply->repeated};
        format_add(out, action->repeat, &values);
        if (action->repeat.size == 0)
            break;
    }
    if (reply->repeated >= action->repeat_count || action->repeat.size == 0)
        reply->stage = REPLY_TERMINATOR;
}

static void fill_terminator(struct reply *reply, struct buffer *out)
{
    reply->stage = REPLY_AFTER;
    if (reply->content == CONTENT_NONE || reply->action->no_terminator)
        return;
    if (memcmp(reply->tail, "\r\n", 2) != 0 && !reply->action->no_final_crlf)
        buffer_add(out, "\r\n", 2);
    buffer_add(out, ".\r\n", 3);
}

static void fill_stage(struct reply *reply, struct buffer *out)
{
    switch (reply->stage) {
    case REPLY_HEAD:
        buffer_add(out, reply->action->before.data, reply->action->before.size);
        buffer_add(out, buffer_front(&reply->status), reply->status.size);
        reply->stage = REPLY_CONTENT;
        break;
    case REPLY_CONTENT:
        fill_content(reply, out);
        break;
    case REPLY_REPEAT:
        fill_repeat(reply, out);
        break;
    case REPLY_TERMINATOR:
        fill_terminator(reply, out);
        break;
    case REPLY_AFTER:
        buffer_add(out, reply->action->after.data, reply->action->after.size);
        reply->stage = REPLY_DONE;
        break;
    case REPLY_DONE:
        break;
    }
}

/* Keep the last two bytes produced: a terminator wants a CRLF before it. */
static void remember_tail(struct reply *reply, const struct buffer *out, size_t added)
{
    const char *end = buffer_front(out) + out->size;
    if (added == 0)
        return;
    reply->tail[0] = added > 1 ? end[-2] : reply->tail[1];
    reply->tail[1] = end[-1];
}

/* Every CRLF from start on becomes LF. */
static void strip_cr(struct reply *reply, struct buffer *out, size_t start)
{
    char *data = buffer_front(out);
    size_t kept = start;
    for (size_t i = start; i < out->size; i++) {
        bool last = i + 1 == out->size;
        reply->cr_held = data[i] == '\r' && last && reply->stage != REPLY_DONE;
        if (data[i] != '\r' || (!last && data[i + 1] != '\n') || (last && !reply->cr_held))
            data[kept++] = data[i];
    }
    out->size = kept;
}

bool reply_fill(struct reply *reply, struct buffer *out)
{
    if (reply->stage == REPLY_DONE)
        return false;
    size_t start = out->size;
    while (reply->stage != REPLY_DONE && out->size - start < FILL_SIZE) {
        size_t before = out->size;
        if (reply->cr_held && before == start)
            buffer_add(out, "\r", 1);
        fill_stage(reply, out);
        remember_tail(reply, out, out->size - before);
    }
    if (reply->action->lf && out->size > start)
        strip_cr(reply, out, start);
    reply->sent += out->size - start;
    if (reply->sent >= reply->action->cut) {
        out->size -= (size_t)(reply->sent - reply->action->cut);
        reply->was_cut = true;
        reply->stage = REPLY_DONE;
        drop_content(reply);
    }
    return true;
}
