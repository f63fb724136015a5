#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "tests/pop3d/script.h"
#include "tests/pop3d/script_rules.h"

#define SCRIPT_SIZE_MAX (16u << 20)

/* One line at a time; after an error the rest of the line is skipped. */
struct parser {
    struct script *script;
    const char *name;
    unsigned line;
    const char *at;
    const char *end;
    FILE *errors;
    bool failed;
};

/* text has a NUL behind it; size 0 and text NULL: the line is at its end. */
struct token {
    char *text;
    size_t size;
    bool quoted;
};

enum kind {
    KIND_BYTES,
    KIND_NUMBER,
    KIND_RANGE,
    KIND_GLOB,
    KIND_FLAG,
    KIND_STUFFING,
    KIND_FINISH,
    KIND_FINISH_AFTER,
    KIND_OWN
};

typedef void word_reader(struct parser *parser, struct rule *rule);

struct word {
    const char *text;
    enum kind kind;
    bool is_condition;
    size_t offset; /* of the field in struct rule */
    unsigned value;
    word_reader *read;
};

static void *script_new(struct script *script, size_t size)
{
    struct allocation *one = memory_new(sizeof *one + size);
    one->next = script->allocations;
    script->allocations = one;
    return one + 1;
}

static void fail(struct parser *parser, const char *what, const char *word)
{
    if (!parser->failed)
        fprintf(parser->errors, "%s:%u: %s%s%s\n", parser->name, parser->line, what,
                word != NULL ? ": " : "", word != NULL ? word : "");
    parser->failed = true;
    parser->at = parser->end;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static char escaped_hex(struct parser *parser)
{
    int high = parser->end - parser->at > 0 ? hex_digit(parser->at[0]) : -1;
    int low = parser->end - parser->at > 1 ? hex_digit(parser->at[1]) : -1;
    if (high < 0 || low < 0) {
        fail(parser, "\\x needs two hexadecimal digits", NULL);
        return 0;
    }
    parser->at += 2;
    return (char)(high << 4 | low);
}

static char escaped(struct parser *parser)
{
    char c = parser->at < parser->end ? *parser->at++ : '\0';
    switch (c) {
    case 'r':
        return '\r';
    case 'n':
        return '\n';
    case 't':
        return '\t';
    case '0':
        return '\0';
    case '\\':
    case '"':
        return c;
    case 'x':
        return escaped_hex(parser);
    default:
        fail(parser, "unknown escape (known: \\r \\n \\t \\0 \\xHH \\\\ \\\")", NULL);
        return 0;
    }
}

static void read_quoted(struct parser *parser, struct token *token)
{
    token->quoted = true;
    parser->at++;
    while (parser->at < parser->end && *parser->at != '"') {
        char c = *parser->at++;
        token->text[token->size++] = c == '\\' ? escaped(parser) : c;
    }
    if (parser->at < parser->end)
        parser->at++;
    else
        fail(parser, "a quotation mark is missing", NULL);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static struct token next_token(struct parser *parser)
{
    while (parser->at < parser->end && is_blank(*parser->at))
        parser->at++;
    if (parser->at < parser->end && *parser->at == '#')
        parser->at = parser->end;
    struct token token = {0};
    if (parser->at == parser->end)
        return token;
    token.text = script_new(parser->script, (size_t)(parser->end - parser->at) + 1);
    if (*parser->at == '"') {
        read_quoted(parser, &token);
        return token;
    }
    while (parser->at < parser->end && !is_blank(*parser->at))
        token.text[token.size++] = *parser->at++;
    return token;
}

static bool number_from(const char *text, const char *end, uint64_t *out_number)
{
    if (text == end)
        return false;
    *out_number = 0;
    for (; text < end; text++) {
        if (*text < '0' || *text > '9' || *out_number > UINT64_MAX / 100)
            return false;
        *out_number = *out_number * 10 + (uint64_t)(*text - '0');
    }
    return true;
}

/* N, N-M, N-, -M or *. */
static bool range_from(const struct token *token, struct range *out_range)
{
    *out_range = (struct range){0, UINT64_MAX};
    if (token->quoted || token->size == 0)
        return false;
    if (strcmp(token->text, "*") == 0)
        return true;
    const char *end = token->text + token->size;
    const char *dash = strchr(token->text, '-');
    if (dash == NULL) {
        bool good = number_from(token->text, end, &out_range->first);
        out_range->last = out_range->first;
        return good;
    }
    if (token->size == 1)
        return false;
    return (dash == token->text || number_from(token->text, dash, &out_range->first)) &&
           (dash + 1 == end || number_from(dash + 1, end, &out_range->last));
}

static uint64_t read_number(struct parser *parser, const char *what)
{
    uint64_t number = 0;
    struct token token = next_token(parser);
    if (token.text == NULL || token.quoted ||
        !number_from(token.text, token.text + token.size, &number))
        fail(parser, "a number is needed after", what);
    return number;
}

static struct bytes read_bytes(struct parser *parser, const char *what)
{
    struct token token = next_token(parser);
    if (!token.quoted)
        fail(parser, "a text in quotation marks is needed after", what);
    return (struct bytes){token.text, token.size};
}

static struct range read_range(struct parser *parser, const char *what)
{
    struct range range;
    struct token token = next_token(parser);
    if (!range_from(&token, &range))
        fail(parser, "a range (N, N-M, N-, -M or *) is needed after", what);
    return range;
}

/* The next token if it is a range; otherwise the line stays where it is. */
static bool try_range(struct parser *parser, struct range *out_range)
{
    const char *before = parser->at;
    struct token token = next_token(parser);
    if (range_from(&token, out_range))
        return true;
    parser->at = before;
    return false;
}

static void read_on(struct parser *parser, struct rule *rule)
{
    struct token token = next_token(parser);
    const char *word = token.text != NULL ? token.text : "";
    rule->event = event_parse(word);
    if (rule->event == EVENT_COUNT && strcmp(word, "*") != 0) {
        fail(parser, "unknown event", word);
        return;
    }
    rule->any_number = !try_range(parser, &rule->numbers);
    const char *before = parser->at;
    token = next_token(parser);
    rule->without_number = token.text != NULL && strcmp(token.text, "all") == 0;
    if (!rule->without_number)
        parser->at = before;
}

static void read_when(struct parser *parser, struct rule *rule)
{
    static const struct {
        const char *text;
        unsigned bit;
    } states[] = {{"before-login", WHEN_BEFORE_LOGIN},
                  {"after-login", WHEN_AFTER_LOGIN},
                  {"tls", WHEN_TLS},
                  {"plain", WHEN_PLAIN},
                  {"utf8", WHEN_UTF8},
                  {"no-utf8", WHEN_NO_UTF8}};
    struct token token = next_token(parser);
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++)
        if (token.text != NULL && strcmp(token.text, states[i].text) == 0) {
            rule->when |= states[i].bit;
            return;
        }
    fail(parser,
         "after `when` stands before-login, after-login, tls, plain, utf8 or no-utf8",
         token.text);
}

static void read_then(struct parser *parser, struct rule *rule)
{
    static const struct {
        const char *text;
        enum finish finish;
    } ends[] = {{"close", FINISH_CLOSE},
                {"shutdown", FINISH_SHUTDOWN},
                {"reset", FINISH_RESET},
                {"hang", FINISH_HANG}};
    struct token token = next_token(parser);
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
        if (token.text != NULL && strcmp(token.text, ends[i].text) == 0) {
            rule->action.finish = ends[i].finish;
            return;
        }
    fail(parser, "after `then` stands close, shutdown, reset or hang", token.text);
}

static void read_drip(struct parser *parser, struct rule *rule)
{
    struct range bytes;
    rule->action.drip_ms = read_number(parser, "drip");
    rule->action.drip_bytes = try_range(parser, &bytes) ? bytes.first : 1;
    if (rule->action.drip_bytes == 0)
        fail(parser, "a drip has at least 1 byte", NULL);
}

static void read_repeat(struct parser *parser, struct rule *rule)
{
    rule->action.repeat_count = read_number(parser, "repeat");
    rule->action.repeat = read_bytes(parser, "the number of repeat");
}

static void read_endless(struct parser *parser, struct rule *rule)
{
    rule->action.repeat_count = REPEAT_FOREVER;
    rule->action.repeat = read_bytes(parser, "endless");
}

static struct edit *add_edit(struct parser *parser, struct edit **list)
{
    struct edit *edit = script_new(parser->script, sizeof *edit);
    edit->numbers = (struct range){0, UINT64_MAX};
    while (*list != NULL)
        list = &(*list)->next;
    *list = edit;
    return edit;
}

static void read_entry(struct parser *parser, struct rule *rule)
{
    struct edit *edit = add_edit(parser, &rule->action.edits);
    edit->numbers = read_range(parser, "entry");
    edit->format = read_bytes(parser, "the range of entry");
}

static void read_omit(struct parser *parser, struct rule *rule)
{
    add_edit(parser, &rule->action.edits)->numbers = read_range(parser, "omit");
}

static void read_uidl(struct parser *parser, struct rule *rule)
{
    struct edit *edit = add_edit(parser, &rule->action.uidls);
    struct range numbers;
    if (try_range(parser, &numbers))
        edit->numbers = numbers;
    edit->format = read_bytes(parser, "uidl");
}

#define ACTION(member) offsetof(struct rule, action.member)

static const struct word words[] = {
    {"on", KIND_OWN, true, 0, 0, read_on},
    {"user", KIND_GLOB, true, offsetof(struct rule, user), 0, NULL},
    {"name", KIND_GLOB, true, offsetof(struct rule, name), 0, NULL},
    {"connection", KIND_RANGE, true, offsetof(struct rule, connections), 0, NULL},
    {"session", KIND_RANGE, true, offsetof(struct rule, sessions), 0, NULL},
    {"when", KIND_OWN, true, 0, 0, read_when},
    {"times", KIND_NUMBER, true, offsetof(struct rule, times), 0, NULL},
    {"skip", KIND_NUMBER, true, offsetof(struct rule, skip), 0, NULL},
    {"reply", KIND_BYTES, false, ACTION(reply), 0, NULL},
    {"raw", KIND_BYTES, false, ACTION(raw), 0, NULL},
    {"status", KIND_BYTES, false, ACTION(status), 0, NULL},
    {"body", KIND_BYTES, false, ACTION(body), 0, NULL},
    {"before", KIND_BYTES, false, ACTION(before), 0, NULL},
    {"after", KIND_BYTES, false, ACTION(after), 0, NULL},
    {"extra", KIND_BYTES, false, ACTION(extra), 0, NULL},
    {"repeat", KIND_OWN, false, 0, 0, read_repeat},
    {"endless", KIND_OWN, false, 0, 0, read_endless},
    {"entry", KIND_OWN, false, 0, 0, read_entry},
    {"omit", KIND_OWN, false, 0, 0, read_omit},
    {"uidl", KIND_OWN, false, 0, 0, read_uidl},
    {"reverse", KIND_FLAG, false, ACTION(reverse), 0, NULL},
    {"truncate", KIND_NUMBER, false, ACTION(truncate), 0, NULL},
    {"show-first", KIND_NUMBER, false, ACTION(show_first), 0, NULL},
    {"show-last", KIND_NUMBER, false, ACTION(show_last), 0, NULL},
    {"delay", KIND_NUMBER, false, ACTION(delay_ms), 0, NULL},
    {"drip", KIND_OWN, false, 0, 0, read_drip},
    {"lf", KIND_FLAG, false, ACTION(lf), 0, NULL},
    {"unstuffed", KIND_STUFFING, false, 0, STUFF_NONE, NULL},
    {"unstuffed-first", KIND_STUFFING, false, 0, STUFF_NOT_FIRST, NULL},
    {"lone-dot", KIND_STUFFING, false, 0, STUFF_NOT_LONE, NULL},
    {"no-terminator", KIND_FLAG, false, ACTION(no_terminator), 0, NULL},
    {"no-final-crlf", KIND_FLAG, false, ACTION(no_final_crlf), 0, NULL},
    {"ignore", KIND_FLAG, false, ACTION(silent), 0, NULL},
    {"pretend", KIND_FLAG, false, ACTION(pretend), 0, NULL},
    {"anyway", KIND_FLAG, false, ACTION(anyway), 0, NULL},
    {"delete", KIND_FLAG, false, ACTION(delete), 0, NULL},
    {"discard-input", KIND_FLAG, false, ACTION(discard_input), 0, NULL},
    {"close", KIND_FINISH, false, 0, FINISH_CLOSE, NULL},
    {"shutdown", KIND_FINISH, false, 0, FINISH_SHUTDOWN, NULL},
    {"reset", KIND_FINISH, false, 0, FINISH_RESET, NULL},
    {"hang", KIND_FINISH, false, 0, FINISH_HANG, NULL},
    {"close-after", KIND_FINISH_AFTER, false, 0, FINISH_CLOSE, NULL},
    {"shutdown-after", KIND_FINISH_AFTER, false, 0, FINISH_SHUTDOWN, NULL},
    {"reset-after", KIND_FINISH_AFTER, false, 0, FINISH_RESET, NULL},
    {"hang-after", KIND_FINISH_AFTER, false, 0, FINISH_HANG, NULL},
    {"then", KIND_OWN, false, 0, 0, read_then},
};

static char *read_glob(struct parser *parser, const char *what)
{
    struct token token = next_token(parser);
    if (token.text == NULL)
        fail(parser, "a name or a pattern is needed after", what);
    return token.text;
}

static void apply_word(struct parser *parser, struct rule *rule, const struct word *word)
{
    char *field = (char *)rule + word->offset;
    switch (word->kind) {
    case KIND_BYTES:
        *(struct bytes *)(void *)field = read_bytes(parser, word->text);
        break;
    case KIND_NUMBER:
        *(uint64_t *)(void *)field = read_number(parser, word->text);
        break;
    case KIND_RANGE:
        *(struct range *)(void *)field = read_range(parser, word->text);
        break;
    case KIND_GLOB:
        *(char **)(void *)field = read_glob(parser, word->text);
        break;
    case KIND_FLAG:
        *(bool *)(void *)field = true;
        break;
    case KIND_STUFFING:
        rule->action.stuffing = (enum stuffing)word->value;
        break;
    case KIND_FINISH:
        rule->action.silent = true;
        rule->action.finish = (enum finish)word->value;
        break;
    case KIND_FINISH_AFTER:
        rule->action.cut = read_number(parser, word->text);
        rule->action.finish = (enum finish)word->value;
        break;
    case KIND_OWN:
        word->read(parser, rule);
        break;
    }
}

static const struct word *find_word(const char *text)
{
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcmp(words[i].text, text) == 0)
            return &words[i];
    return NULL;
}

static struct rule *rule_new(struct parser *parser)
{
    struct rule *rule = script_new(parser->script, sizeof *rule);
    *rule = (struct rule){.line = parser->line,
                          .connections = {0, UINT64_MAX},
                          .sessions = {0, UINT64_MAX},
                          .times = UINT64_MAX,
                          .action = plain_action};
    return rule;
}

static void parse_line(struct parser *parser)
{
    struct rule *rule = rule_new(parser);
    unsigned actions = 0, events = 0;

    struct token token = next_token(parser);
    if (token.text == NULL)
        return;
    for (; token.text != NULL; token = next_token(parser)) {
        const struct word *word = token.quoted ? NULL : find_word(token.text);
        if (word == NULL) {
            fail(parser, "unknown word", token.text);
            return;
        }
        apply_word(parser, rule, word);
        actions += !word->is_condition;
        events += word->read == read_on;
    }
    if (events != 1)
        fail(parser, "a rule has one `on EVENT`", NULL);
    if (actions == 0)
        fail(parser, "a rule needs something to do", NULL);
    *parser->script->end = rule;
    parser->script->end = &rule->next;
}

struct script *script_parse(const char *name, const char *text, FILE *errors)
{
    struct script *script = memory_new(sizeof *script);
    script->end = &script->first;
    struct parser parser = {.script = script, .name = name, .errors = errors};
    bool good = true;

    while (*text != '\0') {
        const char *end = strchrnul(text, '\n');
        parser.line++;
        parser.at = text;
        parser.end = end;
        parser.failed = false;
        parse_line(&parser);
        good = good && !parser.failed;
        text = *end == '\n' ? end + 1 : end;
    }
    if (good)
        return script;
    script_free(script);
    return NULL;
}

struct script *script_read(const char *path, FILE *errors)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        fprintf(errors, "%s: %s\n", path, strerror(errno));
        return NULL;
    }
    struct buffer text = {0};
    size_t got;
    while ((got = fread(buffer_room(&text, BUFSIZ), 1, BUFSIZ, file)) > 0 &&
           text.size < SCRIPT_SIZE_MAX)
        text.size += got;
    fclose(file);
    buffer_add(&text, "", 1);
    struct script *script = script_parse(path, buffer_front(&text), errors);
    buffer_free(&text);
    return script;
}
