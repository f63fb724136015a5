#include "workers/probe_cause.h"

#include <stdbool.h>
#include <string.h>

static const struct {
    const char *word, *meaning, *remedy;
} causes[] = {
    [PROBE_FINE] = {"none", "", ""},
    [PROBE_NO_PASSWORD] =
        {"no-password", "There is no password to log in with.",
         "Make the password-file that is named here: the password is its first line, mode "
         "0600, readable by the user who runs mailcaskd; or correct password-file or "
         "password-command."},
    [PROBE_BAD_CREDENTIALS] =
        {"bad-credentials", "POP3 cannot carry this user name or password.",
         "Correct user and password: neither may be empty, longer than 4096 bytes, or hold "
         "a line end."},
    [PROBE_UNKNOWN_HOST] =
        {"unknown-host", "The name service says that there is no such host.",
         "Correct host in the [server] section: look for a typing error, and ask the "
         "provider for the name of its POP3 server."},
    [PROBE_NAME_SERVICE] =
        {"name-service",
         "The name service gave no answer, so it is not known whether the "
         "host exists.",
         "Check this machine's network and /etc/resolv.conf, then try again."},
    [PROBE_REFUSED] =
        {"connection-refused", "The machine is there, and nothing listens on this port.",
         "Check port: 995 with tls = implicit, 110 with tls = starttls. If it is right, "
         "the "
         "server is down or a firewall rejects this machine: ask its operator."},
    [PROBE_NO_ANSWER] = {"no-answer",
                         "Nothing at all came back from this address and port.",
                         "Check host and port; then look for a firewall, here or there, "
                         "that drops outgoing "
                         "connections to this port."},
    [PROBE_UNREACHABLE] = {"unreachable",
                           "This machine has no route to the server's addresses.",
                           "Check this machine's network: route, VPN, IPv6."},
    [PROBE_CONNECT_FAILED] = {"connect-failed", "The connection could not be made.",
                              "Check host, port and this machine's network."},
    [PROBE_WANTS_STARTTLS] =
        {"wants-starttls",
         "The port speaks POP3 in the clear first and offers TLS by STLS.",
         "Set tls = starttls, or use the port for TLS from the first byte: port = 995."},
    [PROBE_WANTS_IMPLICIT] = {"wants-implicit-tls",
                              "The port speaks TLS from the first byte, not STLS.",
                              "Set tls = implicit, or use the port for STLS: port = 110."},
    [PROBE_PLAINTEXT_ONLY] =
        {"plaintext-only",
         "The server offers no TLS here: everybody on the way could read "
         "the password. mailcask never sends it so; none was sent.",
         "Try port = 995 with tls = implicit; if nothing answers there, the server's "
         "operator must switch TLS on."},
    [PROBE_NO_TLS] =
        {"no-tls", "The server accepted the connection and did not answer in TLS.",
         "Check port: TLS from the first byte is port 995. A firewall or a proxy that does "
         "not let TLS through looks the same."},
    [PROBE_TLS_FAILED] =
        {"tls-failed", "Server and mailcask could not agree on TLS.",
         "Read the server's log for the reason; compare with: openssl s_client -connect "
         "HOST:PORT."},
    [PROBE_TLS_OLD] =
        {"tls-old", "The server's TLS is too old to be safe.",
         "Have the server updated; until then tls-min = 1.0 in its section speaks with it, "
         "and others can break that."},
    [PROBE_CA_FILE] = {"ca-file", "The certificates to trust could not be loaded.",
                       "Correct ca-file, or install Debian's package ca-certificates."},
    [PROBE_CERTIFICATE_EXPIRED] =
        {"certificate-expired", "The server's certificate is past its date.",
         "If this machine's clock is right, the server's operator must renew the "
         "certificate."},
    [PROBE_CERTIFICATE_NOT_YET] =
        {"certificate-not-yet-valid", "The server's certificate begins in the future.",
         "Put this machine's clock right; if it is, the server needs another certificate."},
    [PROBE_CERTIFICATE_NAME] =
        {"certificate-name", "The certificate is good, for another name than host.",
         "Set host to one of the names that the certificate is for; if it is nothing like "
         "the name you know, the address may be the wrong machine's."},
    [PROBE_CERTIFICATE_SELF_SIGNED] =
        {"certificate-self-signed",
         "The server signed its certificate itself, so nobody "
         "vouches for it.",
         "Get the certificate from its operator and name it in ca-file, or pin it with "
         "fingerprint, once it is checked with the operator."},
    [PROBE_CERTIFICATE_ISSUER] =
        {"certificate-issuer",
         "The certificate's issuer is not among those trusted here, "
         "or the server leaves out the certificate in between.",
         "Name the issuer's certificate in ca-file; or have the operator send the whole "
         "chain."},
    [PROBE_CERTIFICATE_WEAK] =
        {"certificate-weak", "The certificate's key or signature is too weak to be safe.",
         "Have the server's certificate replaced; until then tls-min = 1.0 accepts it."},
    [PROBE_CERTIFICATE_PIN] =
        {"certificate-pin",
         "The server has another certificate than the pinned one: a new "
         "one, or somebody is listening in.",
         "Ask its operator; only if the new one is confirmed, set fingerprint to it."},
    [PROBE_CERTIFICATE_OTHER] = {"certificate-refused",
                                 "The server's certificate failed its check.",
                                 "The server needs another certificate."},
    [PROBE_IMAP_SERVER] =
        {"imap-server", "This is an IMAP server.",
         "Use the POP3 port: 995 (tls = implicit) or 110 (tls = starttls); 993 and 143 are "
         "IMAP's. Ask whether the provider has POP3 at all."},
    [PROBE_SMTP_SERVER] =
        {"smtp-server", "This is a server for sending mail (SMTP), or for files (FTP).",
         "Use the host and port of the provider's POP3 server, 995 or 110; 25, 465 and 587 "
         "are for sending."},
    [PROBE_WEB_SERVER] =
        {"web-server", "This is a web server.",
         "Use the host and port of the provider's POP3 server, 995 or 110; 80 and 443 are "
         "the web's."},
    [PROBE_OTHER_SERVER] = {"other-server", "What answers here is not POP3.",
                            "Check host and port: POP3 is on 995 or 110."},
    [PROBE_GREETING_REFUSED] =
        {"greeting-refused",
         "The server turned the connection away before any login: too "
         "many connections, this address is blocked, or it is closed.",
         "Read its words; lower max-connections, wait an hour in case the address is "
         "blocked, then ask its operator."},
    [PROBE_NO_GREETING] = {"no-greeting",
                           "The connection stands, and no POP3 greeting came.",
                           "Check port: 995 with tls = implicit, 110 with tls = starttls. "
                           "If it is right, the "
                           "server is overloaded or broken: ask its operator."},
    [PROBE_NO_CAPA] =
        {"no-capa", "The server cannot be asked for its capabilities (CAPA).",
         "Set avoid = capa in its section. The service finds this out by itself and goes "
         "on without."},
    [PROBE_PASSWORD_REFUSED] =
        {"password-refused", "The server says that user or password is wrong.",
         "Correct user (some want the whole address, some only its first part) and "
         "password. Providers with a two-step login want an app password, made in their "
         "settings, and POP3 switched on there. Then: mailcask poll --account."},
    [PROBE_LOGIN_REFUSED] =
        {"login-refused",
         "The server refused the login without saying why: mostly a wrong "
         "user or password, sometimes POP3 that is switched off, or too "
         "many logins.",
         "Correct user and password; look in the provider's settings whether POP3 is "
         "switched on and whether it wants an app password. Do not try often: servers "
         "block addresses for it."},
    [PROBE_APP_PASSWORD] =
        {"app-password", "The provider accepts only a password made for programs.",
         "Make an app password in the provider's settings (under security, two-step login) "
         "and put it into the password-file."},
    [PROBE_POP_DISABLED] =
        {"pop-disabled", "POP3 is switched off for this mailbox at the provider.",
         "Log in to the provider's web mail and switch POP3 on in the settings; in company "
         "accounts its administrator must."},
    [PROBE_OAUTH_ONLY] =
        {"oauth-only", "The provider no longer accepts passwords over POP3, only OAuth2.",
         "mailcask cannot do OAuth2 yet: have the provider's administrator allow an app "
         "password, or let the mail be copied to a server that accepts passwords."},
    [PROBE_MAILBOX_LOCKED] =
        {"mailbox-locked",
         "Another program has the mailbox open; the password is not the matter.",
         "Let the other program (a mail program, a phone, the running mailcaskd) end its "
         "session, or wait: a lost one is dropped by the server after about 10 minutes."},
    [PROBE_LOGIN_TOO_OFTEN] =
        {"login-too-often",
         "The mailbox is logged in to more often than the server allows.",
         "Wait, then poll less often: raise poll, in the [server] or [account] section, "
         "above the time the server wants between two logins."},
    [PROBE_ACCOUNT_REFUSED] =
        {"account-refused",
         "The server refuses this account for good: closed, locked or "
         "without permission for POP3.",
         "Ask its operator; trying again does not help."},
    [PROBE_SERVER_FAULT] = {"server-fault", "The server has a fault of its own just now.",
                            "Nothing is to be done here: the service tries again by "
                            "itself. If it stays, ask its operator."},
    [PROBE_LOGIN_UNCERTAIN] =
        {"login-uncertain",
         "The connection ended in the middle of the login, without an "
         "answer: it is not known whether the password is right.",
         "Try once more in some minutes. If it stays: check user and password; the server "
         "may have blocked this address."},
    [PROBE_LISTING_REFUSED] =
        {"listing-refused", "The login is good, and the mailbox cannot be listed.",
         "Wait and try again; if it stays, the mailbox is damaged or over its quota: ask "
         "the server's operator."},
    [PROBE_CONNECTION_LOST] =
        {"connection-lost", "The connection ended in the middle of the session.",
         "Try again; if it stays, ask the server's operator, or look for a firewall that "
         "cuts connections."},
    [PROBE_PROTOCOL] = {"protocol", "The server answered what is no answer in POP3.",
                        "Check host and port; see avoid in the manual for servers that "
                        "announce what they cannot do."},
    [PROBE_RESOURCES] = {"resources", "This machine lacks what a connection needs.",
                         "Free memory or descriptors here, then try again."},
};
_Static_assert(sizeof(causes) / sizeof(causes[0]) == PROBE_CAUSE_COUNT,
               "words for every cause");

const char *probe_cause_word(enum probe_cause cause)
{
    return causes[cause].word;
}

const char *probe_cause_meaning(enum probe_cause cause)
{
    return causes[cause].meaning;
}

const char *probe_cause_remedy(enum probe_cause cause)
{
    return causes[cause].remedy;
}

/* The first that fits decides. Both words must occur. */
static const struct {
    const char *first, *second;
    enum probe_cause cause;
} phrases[] = {
    {"application-specific", "password", PROBE_APP_PASSWORD}, /* Gmail */
    {"application password", "", PROBE_APP_PASSWORD},
    {"app password", "", PROBE_APP_PASSWORD}, /* Yahoo, Zoho */
    {"app-password", "", PROBE_APP_PASSWORD},
    {"anwendungsspezifisch", "pass", PROBE_APP_PASSWORD}, /* GMX, web.de */
    {"basic auth", "", PROBE_OAUTH_ONLY},                 /* Microsoft */
    {"oauth", "", PROBE_OAUTH_ONLY},
    {"not enabled", "pop", PROBE_POP_DISABLED}, /* Gmail */
    {"disabled", "pop", PROBE_POP_DISABLED},
    {"not allowed", "pop", PROBE_POP_DISABLED},
    {"deaktiviert", "pop", PROBE_POP_DISABLED},
    {"nicht aktiviert", "pop", PROBE_POP_DISABLED},
    {"nicht freigeschaltet", "pop", PROBE_POP_DISABLED},
    {"enable", "pop", PROBE_POP_DISABLED},
    {"too many", "log", PROBE_LOGIN_TOO_OFTEN},
    {"too many", "auth", PROBE_LOGIN_TOO_OFTEN},
    {"too often", "", PROBE_LOGIN_TOO_OFTEN},
    {"too frequent", "", PROBE_LOGIN_TOO_OFTEN},
    {"rate limit", "", PROBE_LOGIN_TOO_OFTEN},
    {"minutes between", "log", PROBE_LOGIN_TOO_OFTEN},
};

static bool says(const struct reply *reply, const char *word)
{
    return word[0] == '\0' ||
           reply_text_contains(reply->text, reply->text_size, word, strlen(word));
}

static enum probe_cause by_words(const struct reply *reply, enum probe_cause otherwise)
{
    for (size_t i = 0; i < sizeof(phrases) / sizeof(phrases[0]); i++)
        if (says(reply, phrases[i].first) && says(reply, phrases[i].second))
            return phrases[i].cause;
    return otherwise;
}

enum probe_cause probe_cause_of_refusal(const struct reply *reply)
{
    switch (reply->code) {
    case REPLY_CODE_IN_USE:
        return PROBE_MAILBOX_LOCKED;
    case REPLY_CODE_LOGIN_DELAY:
        return PROBE_LOGIN_TOO_OFTEN;
    case REPLY_CODE_SYS_TEMP:
        return by_words(reply, PROBE_SERVER_FAULT);
    case REPLY_CODE_SYS_PERM:
        return by_words(reply, PROBE_ACCOUNT_REFUSED);
    case REPLY_CODE_AUTH:
        return by_words(reply, PROBE_PASSWORD_REFUSED);
    case REPLY_CODE_NONE:
    case REPLY_CODE_OTHER:
        break;
    }
    if (reply_speaks_of_lock(reply))
        return PROBE_MAILBOX_LOCKED;
    return by_words(reply, PROBE_LOGIN_REFUSED);
}

enum probe_cause probe_cause_of_bytes(const char *data, size_t size)
{
    static const struct {
        const char *start;
        size_t size;
        enum probe_cause cause;
    } starts[] = {
        {"+OK", 3, PROBE_WANTS_STARTTLS},      {"-ERR", 4, PROBE_WANTS_STARTTLS},
        {"* ", 2, PROBE_IMAP_SERVER},          {"220", 3, PROBE_SMTP_SERVER},
        {"421", 3, PROBE_SMTP_SERVER},         {"554", 3, PROBE_SMTP_SERVER},
        {"HTTP/", 5, PROBE_WEB_SERVER},        {"<", 1, PROBE_WEB_SERVER},
        {"\x16\x03", 2, PROBE_WANTS_IMPLICIT}, {"\x15\x03", 2, PROBE_WANTS_IMPLICIT},
    };
    for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++)
        if (size >= starts[i].size && memcmp(data, starts[i].start, starts[i].size) == 0)
            return starts[i].cause;
    return PROBE_OTHER_SERVER;
}

enum probe_cause probe_cause_of_tls(enum tls_fault fault)
{
    switch (fault) {
    case TLS_FAULT_OLD:
        return PROBE_TLS_OLD;
    case TLS_FAULT_EXPIRED:
        return PROBE_CERTIFICATE_EXPIRED;
    case TLS_FAULT_NOT_YET:
        return PROBE_CERTIFICATE_NOT_YET;
    case TLS_FAULT_NAME:
        return PROBE_CERTIFICATE_NAME;
    case TLS_FAULT_SELF_SIGNED:
        return PROBE_CERTIFICATE_SELF_SIGNED;
    case TLS_FAULT_ISSUER:
        return PROBE_CERTIFICATE_ISSUER;
    case TLS_FAULT_WEAK:
        return PROBE_CERTIFICATE_WEAK;
    case TLS_FAULT_PIN:
        return PROBE_CERTIFICATE_PIN;
    case TLS_FAULT_CERTIFICATE:
        return PROBE_CERTIFICATE_OTHER;
    case TLS_FAULT_NONE:
    case TLS_FAULT_OTHER:
        break;
    }
    return PROBE_TLS_FAILED;
}
