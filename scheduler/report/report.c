#include "scheduler/report/report.h"

enum report_format report_format_of(struct text name)
{
    static const char *const names[] = {
#define X(id, name) name,
        REPORT_FORMATS(X)
#undef X
    };
    for (size_t i = 0; i < ARRAY_COUNT(names); i++)
        if (text_is(name, names[i])) return (enum report_format)i;
    return REPORT_FORMAT_COUNT;
}

enum err report_write(const struct model *model, enum report_format format, FILE *to,
                      struct error *error)
{
    switch (format) {
    case REPORT_TEXT: report_text(model, to); break;
    case REPORT_MARKDOWN: report_markdown(model, to); break;
    case REPORT_HTML: report_html(model, to); break;
    case REPORT_JSON: report_json(model, to); break;
    case REPORT_FORMAT_COUNT: unreachable("report format");
    }
    return out_check(to, "the report", error);
}
