#include "tests/pop3d/protocol.h"

#include <inttypes.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MS_A_SECOND 1000

struct command {
    enum event event;
    char *argument; /* never NULL */
    uint64_t number;
    const struct action *action;
    bool effect; /* the rule, if any, leaves the command's own effect in place */
    char *password;
};

typedef void handler(struct session *session, const struct command *command);

static struct log *log_of(struct session *session)
{
    return &session->server->log;
}

static void log_message(struct session *session, const char *event, uint64_t number,
                        const struct message *message)
{
    struct log_field user, name;
    log_line(log_of(session), "%s %s %s number=%" PRIu64 " id=%" PRIu64 " session=%" PRIu64,
             event, log_name(&user, session->user), log_name(&name, message->name), number,
             session->id, session->login);
}

static void set_user(struct session *session, const char *user)
{
    free(session->user);
    session->user = memory_copy_string(user);
}

static void refuse_login(struct session *session, const char *status, const char *reason)
{
    struct log_field field;
    log_line(log_of(session), "login-failed %s reason=%s id=%" PRIu64,
             log_name(&field, session->user), reason, session->id);
    reply_status(&session->reply, "%s", status);
}

static bool too_soon(const struct session *session, const struct mailbox *mailbox)
{
    int64_t delay = (int64_t)session->server->options->login_delay_s * MS_A_SECOND;
    return delay > 0 && mailbox->logins > 0 && now_ms() - mailbox->last_login_ms < delay;
}

static struct occasion occasion_of(const struct session *session, enum event event)
{
    return (struct occasion){.event = event,
                             .user = session->user,
                             .number = UNSET,
                             .connection = session->id,
                             .session = session->login,
                             .tls = session->tls != NULL,
                             .utf8 = session->utf8};
}

static const struct action *match(struct session *session, const struct occasion *occasion)
{
    unsigned line;
    const struct action *action = script_match(session->server->script, occasion, &line);
    if (line > 0)
        log_line(log_of(session), "rule %u %s id=%" PRIu64, line,
                 event_name(occasion->event), session->id);
    return action;
}

static void open_mailbox(struct session *session, struct mailbox *mailbox)
{
    const struct options *options = session->server->options;
    struct log_field field;
    struct listing *listing;

    if (mailbox_list(session->server->mailboxes, mailbox, &listing) != 0) {
        refuse_login(session, "-ERR [SYS/TEMP] cannot open the mailbox", "folder");
        return;
    }
    session->mailbox = mailbox;
    session->login = ++mailbox->logins;
    mailbox->last_login_ms = now_ms();
    mailbox->sessions_open++;
    session->holds_mailbox = true;
    struct occasion occasion = occasion_of(session, EVENT_LOGIN);
    view_open(&session->view, listing, match(session, &occasion), options->uidl);
    log_line(log_of(session),
             "login %s session=%" PRIu64 " messages=%zu tls=%s utf8=%s id=%" PRIu64,
             log_name(&field, session->user), session->login, session->view.count,
             session->tls != NULL ? "yes" : "no", session->utf8 ? "yes" : "no",
             session->id);
    reply_status(&session->reply, "+OK logged in");
}

static void log_in(struct session *session, const char *password)
{
    struct server *server = session->server;
    struct mailbox *mailbox = mailboxes_find(server->mailboxes, session->user);
    if (mailbox == NULL)
        refuse_login(session, "-ERR [AUTH] authentication failed", "user");
    else if (!mailbox_password_is(server->mailboxes, mailbox, password))
        refuse_login(session, "-ERR [AUTH] authentication failed", "password");
    else if (server->options->lock && mailbox->sessions_open > 0)
        refuse_login(session, "-ERR [IN-USE] the mailbox is open in another session",
                     "in-use");
    else if (too_soon(session, mailbox))
        refuse_login(session, "-ERR [LOGIN-DELAY] too soon", "login-delay");
    else
        open_mailbox(session, mailbox);
}

void protocol_release(struct session *session)
{
    if (session->holds_mailbox)
        session->mailbox->sessions_open--;
    session->holds_mailbox = false;
    view_close(&session->view);
}

static bool announces(const struct session *session, enum capability capability)
{
    const struct options *options = session->server->options;
    unsigned bit = 1u << capability;
    if ((options->hidden_capabilities & bit) != 0)
        return false;
    if ((options->late_capabilities & bit) != 0 && session->login == 0)
        return false;
    if (capability == CAPABILITY_STLS)
        return options->tls == TLS_STARTTLS && session->tls == NULL;
    if (capability == CAPABILITY_EXPIRE)
        return options->expire != NULL;
    return capability != CAPABILITY_LOGIN_DELAY || options->login_delay_s > 0;
}

static void add_capability(struct session *session, enum capability capability)
{
    struct buffer *text = &session->reply.text;
    const struct options *options = session->server->options;
    buffer_add_text(text, capability_name(capability));
    if (capability == CAPABILITY_SASL)
        buffer_add_text(text, " PLAIN");
    if (capability == CAPABILITY_EXPIRE)
        buffer_addf(text, " %s", options->expire);
    if (capability == CAPABILITY_LOGIN_DELAY)
        buffer_addf(text, " %" PRIu64, options->login_delay_s);
    buffer_add(text, "\r\n", 2);
}

static void do_capa(struct session *session, const struct command *command)
{
    (void)command;
    for (unsigned i = 0; i < CAPABILITY_COUNT; i++)
        if (announces(session, (enum capability)i))
            add_capability(session, (enum capability)i);
    reply_status(&session->reply, "+OK what this server can do");
    reply_add_text(&session->reply);
}

static void do_user(struct session *session, const struct command *command)
{
    (void)command;
    reply_status(&session->reply, "+OK send PASS");
}

static void do_pass(struct session *session, const struct command *command)
{
    if (session->user == NULL)
        reply_status(&session->reply, "-ERR send USER first");
    else if (command->effect)
        log_in(session, command->argument);
}

/* Whether the rule's own text asks the client for one more step. */
static bool action_challenges(const struct action *action)
{
    struct bytes text = action->raw.data != NULL ? action->raw : action->reply;
    return text.data != NULL && text.size > 0 && text.data[0] == '+' &&
           (text.size == 1 || text.data[1] == ' ' || text.data[1] == '\r');
}

static void do_sasl(struct session *session, const struct command *command)
{
    session->awaits_sasl = action_challenges(command->action);
    if (strcmp(command->argument, "*") == 0)
        reply_status(&session->reply, "-ERR cancelled");
    else if (command->password == NULL)
        reply_status(&session->reply, "-ERR [AUTH] not a PLAIN response");
    else if (command->effect && !session->awaits_sasl)
        log_in(session, command->password);
}

static void do_auth(struct session *session, const struct command *command)
{
    const char *initial = strchr(command->argument, ' ');
    bool plain = strncasecmp(command->argument, "PLAIN", strlen("PLAIN")) == 0;
    if (command->argument[0] == '\0') {
        buffer_add_text(&session->reply.text, "PLAIN\r\n");
        reply_status(&session->reply, "+OK mechanisms");
        reply_add_text(&session->reply);
        return;
    }
    if (plain && initial != NULL && !action_challenges(command->action)) {
        do_sasl(session, command);
        return;
    }
    reply_status(&session->reply, plain ? "+ " : "-ERR no such mechanism");
    bool replaced =
        command->action->reply.data != NULL || command->action->raw.data != NULL;
    session->awaits_sasl = command->effect && (plain || replaced);
}

static void do_stls(struct session *session, const struct command *command)
{
    if (session->server->options->tls != TLS_STARTTLS || session->tls != NULL) {
        reply_status(&session->reply, "-ERR no STLS here");
        return;
    }
    reply_status(&session->reply, "+OK begin TLS");
    if (command->effect)
        session->finish = FINISH_STLS;
}

static void do_utf8(struct session *session, const struct command *command)
{
    reply_status(&session->reply, "+OK UTF8");
    session->utf8 = session->utf8 || command->effect;
}

static void do_stat(struct session *session, const struct command *command)
{
    (void)command;
    uint64_t count, octets;
    view_totals(&session->view, &count, &octets);
    reply_status(&session->reply, "+OK %" PRIu64 " %" PRIu64, count, octets);
}

/* NULL after a refusal. */
static const struct message *named_message(struct session *session,
                                           const struct command *command)
{
    const struct message *message = view_message(&session->view, command->number);
    if (message == NULL)
        reply_status(&session->reply, "-ERR no such message");
    return message;
}

static void list_one(struct session *session, const struct command *command,
                     struct bytes format)
{
    struct reply *reply = &session->reply;
    if (named_message(session, command) == NULL)
        return;
    buffer_consume(&reply->status, reply->status.size);
    buffer_add_text(&reply->status, "+OK ");
    view_format(&session->view, command->number, format, &reply->scratch, &reply->status);
    buffer_add(&reply->status, "\r\n", 2);
}

static void do_list(struct session *session, const struct command *command)
{
    if (command->number != UNSET) {
        list_one(session, command, (struct bytes){"%n %s", 5});
        return;
    }
    reply_status(&session->reply, "+OK sizes");
    reply_add_listing(&session->reply, CONTENT_SIZES, &session->view);
}

static void do_uidl(struct session *session, const struct command *command)
{
    if (command->number != UNSET) {
        list_one(session, command, (struct bytes){"%n %u", 5});
        return;
    }
    reply_status(&session->reply, "+OK unique ids");
    reply_add_listing(&session->reply, CONTENT_UIDLS, &session->view);
}

/* Returns false after a refusal. */
static bool add_message(struct session *session, const struct message *message,
                        uint64_t lines)
{
    int fd =
        mailbox_open_message(session->server->mailboxes, session->mailbox, message->name);
    if (fd < 0) {
        reply_status(&session->reply, "-ERR [SYS/TEMP] cannot read the message");
        return false;
    }
    reply_status(&session->reply, "+OK %" PRIu64 " octets", message->octets);
    reply_add_message(&session->reply, fd, session->server->options->line_ends, lines);
    return true;
}

static void do_retr(struct session *session, const struct command *command)
{
    const struct message *message = named_message(session, command);
    if (message == NULL || !add_message(session, message, BODY_ALL_LINES))
        return;
    session->serving = message;
    session->serving_number = command->number;
    if (command->action->delete)
        view_delete(&session->view, command->number);
}

static void do_top(struct session *session, const struct command *command)
{
    const char *lines = strchr(command->argument, ' ');
    if (lines == NULL) {
        reply_status(&session->reply, "-ERR TOP needs a number of lines");
        return;
    }
    const struct message *message = named_message(session, command);
    if (message != NULL)
        add_message(session, message, strtoull(lines, NULL, 10));
}

static void do_dele(struct session *session, const struct command *command)
{
    const struct message *message = named_message(session, command);
    if (message == NULL)
        return;
    reply_status(&session->reply, "+OK deleted");
    if (!command->effect)
        return;
    log_message(session, "dele", command->number, message);
    view_delete(&session->view, command->number);
}

static void do_noop(struct session *session, const struct command *command)
{
    (void)command;
    reply_status(&session->reply, "+OK");
}

static void do_rset(struct session *session, const struct command *command)
{
    reply_status(&session->reply, "+OK");
    if (command->effect)
        view_undelete_all(&session->view);
}

static void delete_marked(struct session *session)
{
    const struct view *view = &session->view;
    if (session->server->options->read_only)
        return;
    for (uint64_t number = 1; number <= view->count; number++) {
        if (!view_is_deleted(view, number))
            continue;
        const struct message *message = &view->listing->messages[view->first + number - 1];
        int err = mailbox_delete_message(session->server->mailboxes, session->mailbox,
                                         message->name);
        log_message(session, err == 0 ? "deleted" : "delete-failed", number, message);
    }
}

static void do_quit(struct session *session, const struct command *command)
{
    if (session->mailbox != NULL && command->effect)
        delete_marked(session);
    /* Before the reply goes out: the client may be back at once. */
    protocol_release(session);
    reply_status(&session->reply, "+OK bye");
    if (!command->action->silent)
        session->finish = FINISH_SHUTDOWN;
}

static const struct {
    handler *run;
    bool before_login;
    bool after_login;
} handlers[EVENT_COUNT] = {
    [EVENT_SASL] = {do_sasl, true, false}, [EVENT_CAPA] = {do_capa, true, true},
    [EVENT_USER] = {do_user, true, false}, [EVENT_PASS] = {do_pass, true, false},
    [EVENT_AUTH] = {do_auth, true, false}, [EVENT_STLS] = {do_stls, true, false},
    [EVENT_UTF8] = {do_utf8, true, false}, [EVENT_STAT] = {do_stat, false, true},
    [EVENT_LIST] = {do_list, false, true}, [EVENT_UIDL] = {do_uidl, false, true},
    [EVENT_RETR] = {do_retr, false, true}, [EVENT_TOP] = {do_top, false, true},
    [EVENT_DELE] = {do_dele, false, true}, [EVENT_NOOP] = {do_noop, false, true},
    [EVENT_RSET] = {do_rset, false, true}, [EVENT_QUIT] = {do_quit, true, true},
};

/* authorization NUL user NUL password, in base64 (RFC 4616). Sets session->user and
 * command->password, or leaves them. */
static void decode_plain(struct session *session, const char *base64,
                         struct command *command)
{
    size_t size = strlen(base64);
    if (size == 0 || size % 4 != 0)
        return;
    char *decoded = memory_new(size + 1);
    int length =
        EVP_DecodeBlock((unsigned char *)decoded, (const unsigned char *)base64, (int)size);
    /* OpenSSL counts the padding as zero bytes. */
    for (size_t i = size; length > 0 && i > size - 2 && base64[i - 1] == '='; i--)
        length--;
    const char *end = length > 0 ? decoded + length : decoded;
    const char *user = length > 0 ? memchr(decoded, '\0', (size_t)length) : NULL;
    const char *password =
        user != NULL ? memchr(user + 1, '\0', (size_t)(end - (user + 1))) : NULL;
    if (password != NULL) {
        set_user(session, user + 1);
        command->password = memory_new((size_t)(end - password));
        memcpy(command->password, password + 1, (size_t)(end - (password + 1)));
    }
    free(decoded);
}

static uint64_t number_of(const char *argument)
{
    if (argument[0] == '\0')
        return UNSET;
    char *end;
    uint64_t number = strtoull(argument, &end, 10);
    return (*end == '\0' || *end == ' ') && argument[0] >= '0' && argument[0] <= '9'
               ? number
               : 0;
}

static struct command command_from(struct session *session, char *line)
{
    struct command command = {.event = EVENT_SASL, .argument = line, .number = UNSET};
    if (session->awaits_sasl) {
        decode_plain(session, line, &command);
        return command;
    }
    char *blank = strchr(line, ' ');
    command.argument = blank != NULL ? blank + 1 : line + strlen(line);
    if (blank != NULL)
        *blank = '\0';
    command.event = event_parse(line);
    if (command.event <= EVENT_FIRST_COMMAND || command.event >= EVENT_COUNT)
        command.event = EVENT_OTHER;
    if (command.event == EVENT_USER)
        set_user(session, command.argument);
    const char *initial = strchr(command.argument, ' ');
    if (command.event == EVENT_AUTH && initial != NULL)
        decode_plain(session, initial + 1, &command);
    command.number = number_of(command.argument);
    return command;
}

/* The reply to be bent: an answer to everything, so that a rule always has one to work on.
 */
static void begin(struct session *session, const struct action *action)
{
    session->finish = FINISH_NONE;
    session->serving = NULL;
    session->replying = true;
    session->discard_input = session->discard_input || action->discard_input;
    reply_start(&session->reply, action);
}

static void bend(struct session *session, const struct action *action)
{
    reply_bend(&session->reply, session->server->options->line_ends);
    if (!reply_has_message(&session->reply))
        session->serving = NULL;
    if (action->finish != FINISH_NONE)
        session->finish = action->finish;
}

static void run(struct session *session, const struct command *command)
{
    bool logged_in = session->login > 0;
    if (handlers[command->event].run == NULL)
        reply_status(&session->reply, "-ERR unknown command");
    else if (logged_in ? !handlers[command->event].after_login
                       : !handlers[command->event].before_login)
        reply_status(&session->reply, "-ERR not in this state");
    else
        handlers[command->event].run(session, command);
}

void protocol_line(struct session *session, char *line)
{
    struct command command = command_from(session, line);
    struct occasion occasion = occasion_of(session, command.event);
    const struct message *message = NULL;

    session->commands++;
    session->counts[command.event]++;
    occasion.number = command.number;
    if (session->view.listing != NULL)
        message = view_message(&session->view, command.number);
    occasion.name = message != NULL ? message->name : NULL;
    command.action = match(session, &occasion);
    command.effect = action_has_effect(command.action);
    begin(session, command.action);
    reply_status(&session->reply, "+OK");
    run(session, &command);
    bend(session, command.action);
    if (command.password != NULL)
        OPENSSL_cleanse(command.password, strlen(command.password));
    free(command.password);
}

void protocol_moment(struct session *session, enum event event)
{
    struct occasion occasion = occasion_of(session, event);
    const struct action *action = match(session, &occasion);
    begin(session, action);
    if (event == EVENT_GREETING)
        reply_status(&session->reply, "+OK pop3d ready");
    bend(session, action);
}

void protocol_line_too_long(struct session *session)
{
    begin(session, &plain_action);
    reply_status(&session->reply, "-ERR line too long");
    session->finish = FINISH_SHUTDOWN;
}
