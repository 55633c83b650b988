/* export.c - `penstock export`: the ledger in forms for other programs. */
#include "scheduler/report/export.h"
#include "scheduler/cli.h"
#include "scheduler/verbs/verbs.h"

int verb_export(const struct arguments *arguments)
{
    struct error error;
    const char *name = arguments_value(arguments, "--format");
    enum export_format format =
        name != NULL ? export_format_of(text_of(name)) : EXPORT_FORMAT_COUNT;
    if (format == EXPORT_FORMAT_COUNT) {
        error_set(&error, ERR_INPUT,
                  "export: --format csv, json, sqlite or openmetrics is wanted");
        return cli_fail(&error);
    }
    if (export_write(arguments->words[0], format, arguments_value(arguments, "--output"),
                     &error) != ERR_OK)
        return cli_fail(&error);
    return CLI_DONE;
}
