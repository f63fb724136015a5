#include "daemon/config_draft.h"

#include "archive/error.h"
#include "daemon/accounts_table.h"
#include "daemon/config.h"
#include "daemon/config_ini.h"
#include "daemon/config_text.h"
#include "daemon/config_value.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LIST_SIZE 256 /* bytes for the list of a section's keys in a message */
#define FIRST_CAPACITY 16
#define NEAR_SECTION_MAX 2

int config_reader_no_memory(struct config_reader *r)
{
    config_error_set(r->error, r->path, 0, "out of memory");
    return -ENOMEM;
}

char *config_reader_path(struct config_reader *r, const char *path)
{
    const char *folder = path[0] == '/' ? "" : r->folder;
    size_t folder_size = strlen(folder), size = strlen(path);
    char *joined = arena_take(r->arena, folder_size + size + 1);
    if (joined != NULL) {
        memcpy(joined, folder, folder_size);
        memcpy(joined + folder_size, path, size);
    }
    return joined;
}

static int add_draft(struct config_reader *r, struct config_drafts *drafts,
                     struct config_draft **out)
{
    if (drafts->count == drafts->capacity) {
        size_t capacity = drafts->capacity > 0 ? drafts->capacity * 2 : FIRST_CAPACITY;
        struct config_draft *items = reallocarray(drafts->items, capacity, sizeof(*items));
        if (items == NULL)
            return config_reader_no_memory(r);
        drafts->items = items;
        drafts->capacity = capacity;
    }
    *out = &drafts->items[drafts->count];
    **out = (struct config_draft){.order = (uint32_t)drafts->count};
    drafts->count++;
    return 0;
}

static int unknown_key(struct config_reader *r, enum config_section section,
                       const char *section_name, unsigned line, const char *name)
{
    const char *near = config_key_near(section, name);
    const char *elsewhere = config_key_elsewhere(name);
    char list[LIST_SIZE];
    config_key_list(section, list, sizeof(list));
    if (elsewhere != NULL)
        return config_error_set(r->error, r->path, line,
                                "key '%s' belongs into %s; allowed in [%s]: %s", name,
                                elsewhere, section_name, list);
    if (near != NULL)
        return config_error_set(r->error, r->path, line,
                                "unknown key '%s'; did you mean '%s'?", name, near);
    return config_error_set(r->error, r->path, line,
                            "unknown key '%s'; allowed in [%s]: %s", name, section_name,
                            list);
}

/* One value of a section or row, checked on its own. others: whether others may read the
 * file. */
static int set_value(struct config_reader *r, struct config_draft *draft,
                     const struct config_key *key, const char *text, unsigned line,
                     bool others)
{
    enum config_key_id id = config_key_id(key);
    if (draft->lines[id] != 0)
        return config_error_set(r->error, draft->file, line,
                                "key '%s' is there twice, first in line %u; allowed: once",
                                key->name, draft->lines[id]);
    draft->lines[id] = line;
    if (text == NULL || *text == '\0')
        return 0;
    struct config_value value = {0};
    if (config_value_parse(key, text, &value) != 0) {
        if (key->type == TYPE_SECRET)
            return config_error_set(r->error, draft->file, line,
                                    "bad value for '%s'; allowed: %s", key->name,
                                    key->allowed);
        return config_error_set(r->error, draft->file, line,
                                "bad value '%s' for '%s'; allowed: %s", text, key->name,
                                key->allowed);
    }
    if (key->type == TYPE_SECRET && others)
        return config_error_set(
            r->error, draft->file, line,
            "a password in a file that others may open; run: chmod 600 %s", draft->file);
    draft->text[id] = text;
    return 0;
}

static int bad_section(struct config_reader *r, const struct config_ini_line *line)
{
    static const char *const kinds[] = {"archive", "server", "account"};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (config_word_distance(line->word, kinds[i], NEAR_SECTION_MAX) <=
            NEAR_SECTION_MAX)
            return config_error_set(r->error, r->path, line->line,
                                    "unknown section '%s'; did you mean '%s'?", line->word,
                                    kinds[i]);
    return config_error_set(
        r->error, r->path, line->line,
        "unknown section '%s'; allowed: [archive], [server NAME], [account NAME]",
        line->word);
}

static int open_archive(struct config_reader *r, const struct config_ini_line *line,
                        struct config_draft **out)
{
    if (*line->value != '\0')
        return config_error_set(r->error, r->path, line->line,
                                "section [archive] with a name; allowed: [archive]");
    if (r->archive.line != 0)
        return config_error_set(r->error, r->path, line->line,
                                "section [archive] is there twice, first in line %u; "
                                "allowed: once",
                                r->archive.line);
    *out = &r->archive;
    return 0;
}

static int check_name(struct config_reader *r, const char *what, const char *file,
                      unsigned line, const char *name)
{
    const struct config_key *key = &config_keys[KEY_ACCOUNT];
    struct config_value value;
    if (config_value_parse(key, name, &value) != 0)
        return config_error_set(r->error, file, line, "bad %s name '%s'; allowed: %s", what,
                                name, key->allowed);
    return 0;
}

static int too_many(struct config_reader *r, const char *file, unsigned line)
{
    return config_error_set(r->error, file, line, "too many accounts; allowed: %u",
                            CONFIG_ACCOUNTS_MAX);
}

/* Begin the section of this line: its draft and its kind. */
static int open_section(struct config_reader *r, const struct config_ini_line *line,
                        struct config_draft **out, enum config_section *out_section)
{
    bool account = strcmp(line->word, "account") == 0;
    int err;
    if (strcmp(line->word, "archive") == 0) {
        *out_section = SECTION_ARCHIVE;
        err = open_archive(r, line, out);
    } else if (account || strcmp(line->word, "server") == 0) {
        *out_section = account ? SECTION_ACCOUNT : SECTION_SERVER;
        err = check_name(r, line->word, r->path, line->line, line->value);
        if (err == 0 && account && r->accounts.count == CONFIG_ACCOUNTS_MAX)
            err = too_many(r, r->path, line->line);
        if (err == 0)
            err = add_draft(r, account ? &r->accounts : &r->servers, out);
    } else {
        err = bad_section(r, line);
    }
    if (err != 0)
        return err;
    (*out)->file = r->path;
    (*out)->line = line->line;
    (*out)->name = *line->value != '\0' ? line->value : NULL;
    return 0;
}

/* The section a line is in, while the file is read. */
struct place {
    struct config_draft *draft; /* NULL: none yet, or one to be ignored */
    enum config_section section;
    const char *name;
    const struct config_key *only;
    bool others;
};

static int read_entry(struct config_reader *r, const struct place *place,
                      const struct config_ini_line *line)
{
    if (place->draft == NULL)
        return config_error_set(r->error, r->path, line->line,
                                "key '%s' outside a section; allowed first: [archive], "
                                "[server NAME], [account NAME]",
                                line->word);
    const struct config_key *key = config_key_find(place->section, line->word);
    if (place->only != NULL && key != place->only)
        return 0;
    if (key == NULL)
        return unknown_key(r, place->section, place->name, line->line, line->word);
    return set_value(r, place->draft, key, line->value, line->line, place->others);
}

static int read_line(struct config_reader *r, struct place *place,
                     const struct config_ini_line *line)
{
    bool to_section = line->kind == CONFIG_INI_SECTION;
    if (place->only != NULL) {
        if (to_section && strcmp(line->word, "archive") != 0)
            place->draft = NULL;
        if (place->draft == NULL && !(to_section && strcmp(line->word, "archive") == 0))
            return 0;
    }
    if (line->kind == CONFIG_INI_BAD)
        return config_error_set(r->error, r->path, line->line, "%s", line->value);
    if (!to_section)
        return read_entry(r, place, line);
    place->name = line->word;
    return open_section(r, line, &place->draft, &place->section);
}

int config_reader_file(struct config_reader *r, const struct config_key *only)
{
    struct config_text text = {0};
    int err = config_text_load(r->path, r->arena, &text, r->error);
    if (err != 0 && err != ERR_SYNTAX)
        config_error_set(r->error, r->path, 0, "the configuration file cannot be read: %s",
                         config_text_problem(err));
    if (err != 0)
        return err;
    struct place place = {.only = only, .others = text.open_to_others};
    struct config_ini ini;
    config_ini_init(&ini, text.data, text.size);
    for (;;) {
        struct config_ini_line line = config_ini_next(&ini);
        if (line.kind == CONFIG_INI_END)
            return 0;
        err = read_line(r, &place, &line);
        if (err != 0)
            return err;
    }
}

static int add_row(struct config_reader *r, const struct config_draft *server,
                   const struct accounts_table *table, const struct accounts_row *row)
{
    const char *name = row->text[KEY_ACCOUNT] != NULL ? row->text[KEY_ACCOUNT] : "";
    int err = check_name(r, "account", table->file, row->line, name);
    if (err == 0 && r->accounts.count == CONFIG_ACCOUNTS_MAX)
        err = too_many(r, table->file, row->line);
    struct config_draft *draft = NULL;
    if (err == 0)
        err = add_draft(r, &r->accounts, &draft);
    if (err != 0)
        return err;
    draft->name = name;
    draft->file = table->file;
    draft->line = row->line;
    for (size_t i = 0; i < table->column_count && err == 0; i++) {
        const struct config_key *key = table->columns[i];
        err = set_value(r, draft, key, row->text[config_key_id(key)], row->line, false);
    }
    if (draft->text[KEY_SERVER] == NULL)
        draft->text[KEY_SERVER] = server->name;
    return err;
}

static int check_table_mode(struct config_reader *r, const struct accounts_table *table)
{
    for (size_t i = 0; i < table->column_count; i++)
        if (table->columns[i] == &config_keys[KEY_PASSWORD])
            return config_error_set(
                r->error, table->file, table->header_line,
                "a column 'password' in a file that others may open; run: chmod 600 %s",
                table->file);
    return 0;
}

int config_reader_table(struct config_reader *r, const struct config_draft *server)
{
    if (server->text[KEY_ACCOUNTS_FILE] == NULL)
        return 0;
    const char *path = config_reader_path(r, server->text[KEY_ACCOUNTS_FILE]);
    if (path == NULL)
        return config_reader_no_memory(r);
    struct config_text text = {0};
    int err = config_text_load(path, r->arena, &text, r->error);
    if (err != 0 && err != ERR_SYNTAX)
        return config_error_set(r->error, server->file, server->lines[KEY_ACCOUNTS_FILE],
                                "accounts-file %s cannot be read: %s; allowed: %s", path,
                                config_text_problem(err),
                                config_keys[KEY_ACCOUNTS_FILE].allowed);
    if (err != 0)
        return err;
    struct accounts_table table;
    err = accounts_table_open(&table, path, text.data, text.size, r->error);
    if (err == 0 && text.open_to_others)
        err = check_table_mode(r, &table);
    while (err == 0) {
        struct accounts_row row;
        int got = accounts_table_next(&table, &row, r->error);
        if (got <= 0)
            return got;
        err = add_row(r, server, &table, &row);
    }
    return err;
}

static int compare_drafts(const void *a, const void *b)
{
    const struct config_draft *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    if (order != 0)
        return order;
    return x->order < y->order ? -1 : x->order > y->order;
}

int config_drafts_sort(struct config_drafts *drafts, const char *what,
                       struct config_error *error)
{
    if (drafts->count > 1)
        qsort(drafts->items, drafts->count, sizeof(*drafts->items), compare_drafts);
    for (size_t i = 1; i < drafts->count; i++) {
        const struct config_draft *first = &drafts->items[i - 1], *second = first + 1;
        if (strcmp(first->name, second->name) == 0)
            return config_error_set(error, second->file, second->line,
                                    "%s '%s' is there twice, first at %s:%u; allowed: once",
                                    what, second->name, first->file, first->line);
    }
    return 0;
}

static int compare_name(const void *name, const void *draft)
{
    return strcmp(name, ((const struct config_draft *)draft)->name);
}

const struct config_draft *config_drafts_find(const struct config_drafts *drafts,
                                              const char *name)
{
    if (drafts->count == 0)
        return NULL;
    return bsearch(name, drafts->items, drafts->count, sizeof(*drafts->items),
                   compare_name);
}

void config_reader_free(struct config_reader *r)
{
    free(r->servers.items);
    free(r->accounts.items);
}
