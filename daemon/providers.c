#include "daemon/providers.h"

#include <stddef.h>
#include <string.h>
#include <strings.h>

#define MEGABYTE ((uint64_t)1000 * 1000)

/* After what the providers publish for mail programs; the pages named are where to look.
 * Names and rules change: correct them here, and only here. All have TLS from the first
 * byte on port 995. Polling intervals that they demand are not in the table. */
static const struct provider providers[] = {
    /* support.google.com, "Read Gmail messages on other email clients using POP", for the
     * host, `recent:` and the settings; support.google.com/a, "Gmail bandwidth limits", for
     * the bytes: who crosses them is locked out for up to a day. */
    {"gmail",
     {"pop.gmail.com", "pop.googlemail.com"},
     "recent:%a",
     1250 * MEGABYTE,
     "Gmail: enable POP for all mail (Settings, Forwarding and POP/IMAP), and make an app "
     "password (Google account, Security, 2-Step Verification). In company accounts the "
     "administrator must allow POP first."},
    /* hilfe.gmx.net, "POP3: Serverdaten". */
    {"gmx",
     {"pop.gmx.net", "pop.gmx.com"},
     NULL,
     0,
     "GMX: allow access by POP3 and IMAP (E-Mail, settings, POP3/IMAP); with two-factor "
     "login make an application-specific password."},
    /* hilfe.web.de, "POP3: Serverdaten". */
    {"web.de",
     {"pop3.web.de"},
     NULL,
     0,
     "WEB.DE: allow access by POP3 and IMAP (E-Mail, settings, POP3/IMAP); with two-factor "
     "login make an application-specific password."},
    /* telekom.de/hilfe, "E-Mail-Server": plaintext has been off since 2014. */
    {"t-online",
     {"securepop.t-online.de"},
     NULL,
     0,
     "T-Online: the password is the one for mail programs (E-Mail-Passwort), set in the "
     "customer centre, not that of the Telekom login; the user is the whole address."},
    /* support.microsoft.com, "POP, IMAP, and SMTP settings for Outlook.com", and
     * learn.microsoft.com, "Deprecation of Basic authentication in Exchange Online". */
    {"outlook",
     {"outlook.office365.com", "pop-mail.outlook.com"},
     NULL,
     0,
     "Microsoft: passwords are no longer accepted over POP3 (Exchange Online since 2023, "
     "Outlook.com since September 2024), only OAuth2, which mailcask cannot do yet."},
    /* help.yahoo.com, "POP access settings". */
    {"yahoo",
     {"pop.mail.yahoo.com"},
     NULL,
     0,
     "Yahoo: make an app password (Account Security); the account's own password is not "
     "accepted."},
    /* ionos.de/hilfe, "Serverinformationen fuer IMAP, POP3 und SMTP". */
    {"ionos",
     {"pop.ionos.de", "pop.ionos.com"},
     NULL,
     0,
     "IONOS: the user is the whole address, the password that of the mailbox, not of the "
     "customer account."},
    /* hilfe-center.1und1.de, for customers of its lines; hosting went to IONOS. */
    {"1und1",
     {"pop.1und1.de"},
     NULL,
     0,
     "1&1: the user is the whole address, the password that of the mailbox, not of the "
     "customer account. Mailboxes of web hosting are at IONOS: preset = ionos."},
};
#define PROVIDER_COUNT (sizeof(providers) / sizeof(providers[0]))

const struct provider *provider_by_preset(const char *preset)
{
    for (size_t i = 0; i < PROVIDER_COUNT; i++)
        if (strcmp(preset, providers[i].preset) == 0)
            return &providers[i];
    return NULL;
}

const struct provider *provider_by_host(const char *host)
{
    for (size_t i = 0; i < PROVIDER_COUNT; i++)
        for (size_t k = 0; k < PROVIDER_HOSTS_MAX && providers[i].hosts[k] != NULL; k++)
            if (strcasecmp(host, providers[i].hosts[k]) == 0)
                return &providers[i];
    return NULL;
}

uint64_t provider_daily_bytes(const char *host)
{
    const struct provider *provider = provider_by_host(host);
    return provider != NULL ? provider->daily_bytes : 0;
}
