#include "scheduler/report/svg.h"

#include <inttypes.h>
#include <string.h>

#include "scheduler/report/tables.h"

/* ---- places -------------------------------------------------------------------------- */

/* Lines are drawn in a square of this side that is stretched to the plot; strokes do not stretch. */
enum { SQUARE = 10000 };

/* A straight map of [low, high] onto [0, SQUARE]. */
struct axis {
    int64_t low, high;
};

static int64_t axis_place(const struct axis *axis, int64_t value, int64_t side)
{
    if (value <= axis->low || axis->high <= axis->low) return 0;
    if (value >= axis->high) return side;
    return scale_floor(value - axis->low, side, axis->high - axis->low);
}

static int64_t axis_x(const struct axis *axis, int64_t value)
{
    return axis_place(axis, value, SQUARE);
}

/* SVG's y grows downwards. */
static int64_t axis_y(const struct axis *axis, int64_t value)
{
    return SQUARE - axis_place(axis, value, SQUARE);
}

/* "12.34%" of the plot's width. */
static struct word share(int64_t place)
{
    struct word word;
    struct writer writer = writer_of(word.text, sizeof word.text);
    writer_format(&writer, "%" PRId64 ".%02" PRId64 "%%", place / 100, place % 100);
    return word;
}

/* The roundest of 1, 2, 5 x 10^k that cuts the range into at most `parts`. */
static int64_t round_step(int64_t range, int64_t parts)
{
    int64_t step = 1;
    static const int64_t factors[] = { 2, 5, 10 };
    for (;;) {
        for (size_t i = 0; i < ARRAY_COUNT(factors); i++) {
            if (range / step <= parts) return step;
            if (i == 2) break;
            if (range / (step * factors[i]) <= parts) return step * factors[i];
        }
        if (step > INT64_MAX / 100) return step;
        step *= 10;
    }
}

static void out_string(FILE *to, const char *string)
{
    out_html(to, text_of(string));
}

void svg_patterns(FILE *to)
{
    fputs("<svg class=\"defs\" width=\"0\" height=\"0\" aria-hidden=\"true\"><defs>"
          "<pattern id=\"hatch\" width=\"7\" height=\"7\" patternUnits=\"userSpaceOnUse\" "
          "patternTransform=\"rotate(45)\"><rect class=\"hatch\" width=\"3.5\" height=\"7\"/>"
          "</pattern></defs></svg>\n",
          to);
}

/* ---- spend --------------------------------------------------------------------------- */

enum { SPEND_HEIGHT = 240 };

static int64_t spend_of(const struct spend_point *point, int series)
{
    switch (series) {
    case 0: return point->approved_micros;
    case 1: return point->released_micros;
    case 2: return point->spent_micros + point->reserved_micros;
    default: return point->spent_micros;
    }
}

/* The steps of one amount over time, as a path; `closed` down to the axis for an area. */
static void spend_path(const struct model *model, FILE *to, const struct axis *time,
                       const struct axis *money, int series, bool closed)
{
    int64_t y = axis_y(money, 0);
    fprintf(to, "M0 %" PRId64, y);
    for (uint32_t i = 0; i < model->spend_count; i++) {
        const struct spend_point *point = &model->spend[i];
        int64_t value = spend_of(point, series);
        /* What is above the chart leaves it at the top, and is not drawn along its edge. */
        int64_t next = value > money->high ? -SQUARE / 20 : axis_y(money, value);
        if (next == y) continue;
        fprintf(to, "H%" PRId64 "V%" PRId64, axis_x(time, point->at_ns), next);
        y = next;
    }
    fprintf(to, "H%d", (int)SQUARE);
    if (closed) fprintf(to, "V%d", (int)SQUARE);
}

static void spend_line(const struct model *model, FILE *to, const struct axis *time,
                       const struct axis *money, int series, const char *class)
{
    fprintf(to, "<path class=\"%s\" d=\"", class);
    spend_path(model, to, time, money, series, false);
    fputs("\"/>", to);
}

static void spend_area(const struct model *model, FILE *to, const struct axis *time,
                       const struct axis *money, int series, const char *class)
{
    fprintf(to, "<path class=\"%s\" d=\"", class);
    spend_path(model, to, time, money, series, true);
    fputs("\"/>", to);
}

/* The largest of an amount over time. */
static int64_t spend_peak(const struct model *model, int series)
{
    int64_t peak = 0;
    for (uint32_t i = 0; i < model->spend_count; i++)
        peak = max_i64(peak, spend_of(&model->spend[i], series));
    return peak;
}

/* The top of the money axis: the largest amount that does not flatten what was spent to the ground. What is
 * above it is said in the legend. */
static int64_t spend_top(const struct model *model)
{
    enum { FLAT = 6 };
    int64_t used = spend_peak(model, 2);
    const int64_t tops[] = { model->money.budget_micros, spend_peak(model, 0),
                             spend_peak(model, 1) };
    int64_t top = used;
    for (size_t i = ARRAY_COUNT(tops); i-- > 0;)
        if (tops[i] / FLAT <= used) top = max_i64(top, tops[i]);
    return max_i64(1, top + top / 16);
}

static void spend_grid(const struct model *model, FILE *to, const struct axis *money)
{
    int64_t step = round_step(money->high, 4);
    for (int64_t value = step; value < money->high; value += step) {
        int64_t y = scale_floor(axis_y(money, value), SPEND_HEIGHT, SQUARE);
        fprintf(to,
                "<line class=\"grid\" x1=\"0\" x2=\"100%%\" y1=\"%" PRId64 "\" y2=\"%" PRId64
                "\"/><text class=\"tick\" x=\"4\" y=\"%" PRId64 "\">%s</text>",
                y, y, y - 4, word_amount(value, &model->currency).text);
        if (value > INT64_MAX - step) break;
    }
}

/* Three times under a chart. */
static void time_row(FILE *to, int64_t from_ns, int64_t to_ns)
{
    bool short_span = to_ns - from_ns < 24 * NS_PER_HOUR;
    const int64_t times[] = { from_ns, from_ns + (to_ns - from_ns) / 2, to_ns };
    fputs("<div class=\"axis\" aria-hidden=\"true\">", to);
    for (size_t i = 0; i < ARRAY_COUNT(times); i++)
        fprintf(to, "<span>%s</span>",
                short_span ? word_clock(times[i]).text : word_minute(times[i]).text);
    fputs("</div>\n", to);
}

static void spend_legend(const struct model *model, int64_t top_micros, FILE *to)
{
    const struct {
        const char *class, *name;
        int64_t micros;
    } rows[] = { { "approved", "approved", model->money.approved_micros },
                 { "released", "released", model->money.released_micros },
                 { "reserved", "reserved", model->money.reserved_micros },
                 { "spent", "spent", model->money.spent_micros } };
    fputs("<ul class=\"legend\">", to);
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
        fprintf(to,
                "<li><span class=\"key %s\" aria-hidden=\"true\"></span>%s <b>%s</b>%s</li>",
                rows[i].class, rows[i].name, word_amount(rows[i].micros, &model->currency).text,
                rows[i].micros > top_micros ? " (above the chart)" : "");
    fputs("</ul>", to);
}

void svg_spend(const struct model *model, FILE *to)
{
    if (model->spend_count == 0 || model->now_ns <= model->spend[0].at_ns) return;
    struct axis time = { model->first_ns, model->now_ns };
    struct axis money = { 0, spend_top(model) };
    fputs("<figure class=\"chart\"><figcaption><h3>Spend over time</h3>", to);
    spend_legend(model, money.high, to);
    fprintf(
        to,
        "</figcaption>\n<svg role=\"img\" aria-labelledby=\"spend-t spend-d\" width=\"100%%\" "
        "height=\"%d\"><title id=\"spend-t\">Money over time</title><desc id=\"spend-d\">",
        (int)SPEND_HEIGHT);
    fprintf(to, "Approved, released, reserved and spent money from %s to %s. ",
            word_utc(time.low).text, word_utc(time.high).text);
    out_string(to, word_money(model->money.spent_micros, &model->currency).text);
    fputs(" is spent at the end, of a budget of ", to);
    out_string(to, word_money(model->money.budget_micros, &model->currency).text);
    fputs(".</desc>", to);
    fprintf(to,
            "<svg width=\"100%%\" height=\"%d\" viewBox=\"0 0 %d %d\" "
            "preserveAspectRatio=\"none\">",
            (int)SPEND_HEIGHT, (int)SQUARE, (int)SQUARE);
    spend_area(model, to, &time, &money, 2, "area reserved");
    spend_area(model, to, &time, &money, 3, "area spent");
    spend_line(model, to, &time, &money, 3, "line spent");
    spend_line(model, to, &time, &money, 1, "line released");
    spend_line(model, to, &time, &money, 0, "line approved");
    fputs("</svg>", to);
    spend_grid(model, to, &money);
    fprintf(to, "<line class=\"base\" x1=\"0\" x2=\"100%%\" y1=\"%d.5\" y2=\"%d.5\"/></svg>\n",
            (int)SPEND_HEIGHT - 1, (int)SPEND_HEIGHT - 1);
    time_row(to, time.low, time.high);
    fputs("</figure>\n", to);
}

/* ---- loss curves --------------------------------------------------------------------- */

enum { CURVE_HEIGHT = 150, CURVE_TOP = 34, CURVE_POINTS_MAX = 160 };

struct curves {
    const struct model *model;
    struct axis step, loss;
    uint32_t runs[CURVES_MAX]; /* shown, in the campaign's order */
    uint32_t count, with_points;
};

static bool has_curve(const struct model_run *run)
{
    for (uint32_t i = 0; i < run->point_count; i++)
        if (loss_is_number(run->points[i].loss_micro) ||
            loss_is_number(run->points[i].val_loss_micro))
            return true;
    return false;
}

/* The runs that cost most, when there are more than can be shown. */
static void choose_runs(struct curves *curves)
{
    const struct model *model = curves->model;
    for (uint32_t r = 0; r < model->run_count; r++) {
        if (!has_curve(&model->runs[r])) continue;
        curves->with_points++;
        uint32_t at = curves->count;
        if (at == CURVES_MAX) {
            at = 0;
            for (uint32_t i = 1; i < CURVES_MAX; i++)
                if (model->runs[curves->runs[i]].spent_micros <
                    model->runs[curves->runs[at]].spent_micros)
                    at = i;
            if (model->runs[curves->runs[at]].spent_micros >= model->runs[r].spent_micros)
                continue;
            memmove(&curves->runs[at], &curves->runs[at + 1],
                    (CURVES_MAX - 1 - at) * sizeof curves->runs[0]);
            at = CURVES_MAX - 1;
        } else {
            curves->count++;
        }
        curves->runs[at] = r;
    }
}

static void widen(struct axis *axis, int64_t value, bool *first)
{
    if (*first || value < axis->low) axis->low = value;
    if (*first || value > axis->high) axis->high = value;
    *first = false;
}

static void measure_axes(struct curves *curves)
{
    bool first = true;
    for (uint32_t c = 0; c < curves->count; c++) {
        const struct model_run *run = &curves->model->runs[curves->runs[c]];
        curves->step.high =
            max_i64(curves->step.high,
                    (int64_t)min_i64((int64_t)(run->steps_planned >> 1), INT64_MAX / 4) * 2);
        for (uint32_t i = 0; i < run->point_count; i++) {
            const struct curve_point *point = &run->points[i];
            curves->step.high = max_i64(curves->step.high, (int64_t)(point->step & INT64_MAX));
            if (loss_is_number(point->loss_micro))
                widen(&curves->loss, point->loss_micro, &first);
            if (loss_is_number(point->val_loss_micro))
                widen(&curves->loss, point->val_loss_micro, &first);
        }
    }
    int64_t room = max_i64(1000, (curves->loss.high - curves->loss.low) / 12);
    curves->loss.low -= room;
    curves->loss.high += room;
    curves->step.high = max_i64(1, curves->step.high);
}

static int64_t curve_value(const struct curve_point *point, bool held_out)
{
    return held_out ? point->val_loss_micro : point->loss_micro;
}

/* A path through the run's losses; a line starts anew where a restart went back. */
static void curve_path(const struct curves *curves, const struct model_run *run, bool held_out,
                       FILE *to)
{
    uint32_t stride = run->point_count / CURVE_POINTS_MAX + 1;
    uint64_t last_step = 0;
    bool pen_down = false;
    for (uint32_t i = 0; i < run->point_count; i++) {
        const struct curve_point *point = &run->points[i];
        int64_t value = curve_value(point, held_out);
        bool skipped = i % stride != 0 && i + 1 != run->point_count && !held_out;
        if (!loss_is_number(value) || skipped) continue;
        if (point->step < last_step) pen_down = false;
        fprintf(to, "%c%" PRId64 " %" PRId64, pen_down ? 'L' : 'M',
                axis_x(&curves->step, (int64_t)(point->step & INT64_MAX)),
                axis_y(&curves->loss, value));
        pen_down = true;
        last_step = point->step;
    }
}

/* Every curve once, to be used in its own chart and, faint, in the others. */
static void curve_shapes(const struct curves *curves, FILE *to)
{
    fputs("<svg class=\"defs\" width=\"0\" height=\"0\" aria-hidden=\"true\"><defs>", to);
    for (uint32_t c = 0; c < curves->count; c++) {
        const struct model_run *run = &curves->model->runs[curves->runs[c]];
        fprintf(to, "<path vector-effect=\"non-scaling-stroke\" id=\"loss-%" PRIu32 "\" d=\"",
                run->index);
        curve_path(curves, run, false, to);
        fprintf(to,
                "\"/><path vector-effect=\"non-scaling-stroke\" id=\"held-%" PRIu32 "\" d=\"",
                run->index);
        curve_path(curves, run, true, to);
        fputs("\"/>", to);
    }
    fputs("</defs></svg>\n", to);
}

/* Shapes tell verdicts apart without colour: GO a disc, NO-GO a cross, HOLD an open square. */
static void gate_shape(FILE *to, enum verdict verdict, const char *x, int64_t y)
{
    switch (verdict) {
    case VERDICT_GO:
        fprintf(to, "<circle class=\"mark go\" cx=\"%s\" cy=\"%" PRId64 "\" r=\"4.5\"/>", x, y);
        return;
    case VERDICT_NO_GO:
        fprintf(to,
                "<svg class=\"at\" x=\"%s\" y=\"%" PRId64 "\"><path class=\"mark no-go\" "
                "d=\"M-4 -4L4 4M-4 4L4 -4\"/></svg>",
                x, y);
        return;
    case VERDICT_HOLD:
    case VERDICT_NONE:
    case VERDICT_COUNT:
        fprintf(to,
                "<svg class=\"at\" x=\"%s\" y=\"%" PRId64 "\"><rect class=\"mark hold\" "
                "x=\"-4\" y=\"-4\" width=\"8\" height=\"8\"/></svg>",
                x, y);
        return;
    }
}

static void gate_mark(const struct curves *curves, const struct model_gate *gate, FILE *to)
{
    int64_t place = axis_x(&curves->step, (int64_t)(gate->step & INT64_MAX));
    struct word x = share(place);
    bool known = loss_is_number(gate->loss_micro);
    int64_t y = CURVE_TOP + (known ? scale_floor(axis_y(&curves->loss, gate->loss_micro),
                                                 CURVE_HEIGHT, SQUARE)
                                   : CURVE_HEIGHT - 6);
    const char *anchor = place > SQUARE * 6 / 10 ? "end"
                         : place < SQUARE / 10   ? "start"
                                                 : "middle";
    int64_t row = 11 + 12 * (int64_t)(gate->slot % 2);
    fprintf(to,
            "<line class=\"gate\" x1=\"%s\" x2=\"%s\" y1=\"%" PRId64 "\" y2=\"%d\"/>"
            "<text class=\"label\" x=\"%s\" y=\"%" PRId64 "\" text-anchor=\"%s\">",
            x.text, x.text, row + 4, CURVE_TOP + CURVE_HEIGHT, x.text, row, anchor);
    out_string(to, gate->name);
    fprintf(to, " %s%s</text>", verdict_name(gate->verdict), known ? "" : " (no loss)");
    gate_shape(to, gate->verdict, x.text, y);
}

static void curve_grid(const struct curves *curves, FILE *to)
{
    int64_t step = round_step(curves->loss.high - curves->loss.low, 3);
    int64_t value = div_ceil(curves->loss.low, step) * step;
    for (; value < curves->loss.high; value += step) {
        int64_t y = CURVE_TOP + scale_floor(axis_y(&curves->loss, value), CURVE_HEIGHT, SQUARE);
        int digits = step >= 1000000 ? 0 : step >= 100000 ? 1 : step >= 10000 ? 2 : 3;
        struct currency plain = { .digits = digits };
        fprintf(to,
                "<line class=\"grid\" x1=\"0\" x2=\"100%%\" y1=\"%" PRId64 "\" y2=\"%" PRId64
                "\"/><text class=\"tick\" x=\"2\" y=\"%" PRId64 "\">%s</text>",
                y, y, y - 3, word_amount(value, &plain).text);
    }
}

static void curve_caption(const struct model_run *run, FILE *to)
{
    fputs("<figcaption><b>", to);
    out_string(to, run->name);
    fprintf(to, "</b> <span class=\"state\">%s</span><span class=\"best\">%s%s</span>",
            run_state_name(run->state),
            loss_is_number(run->val_best_micro) ? "held-out " : "no held-out loss",
            loss_is_number(run->val_best_micro) ? word_loss(run->val_best_micro).text : "");
    fputs("</figcaption>", to);
}

static void curve_chart(const struct curves *curves, const struct model_run *run, FILE *to)
{
    fprintf(to, "<figure class=\"curve s%" PRIu32 "\">", run->index % SERIES_COLOURS);
    curve_caption(run, to);
    fprintf(to,
            "<svg role=\"img\" aria-labelledby=\"c%" PRIu32 "-t c%" PRIu32
            "-d\" width=\"100%%\" height=\"%d\"><title id=\"c%" PRIu32 "-t\">Loss of run ",
            run->index, run->index, CURVE_TOP + CURVE_HEIGHT + 2, run->index);
    out_string(to, run->name);
    fprintf(to,
            "</title><desc id=\"c%" PRIu32 "-d\">Training loss up to step %s, last %s; best "
            "held-out loss %s.",
            run->index, word_count(run->step).text, word_loss(run->loss_micro).text,
            word_loss(run->val_best_micro).text);
    for (uint32_t slot = 0; slot < run->gate_count; slot++) {
        if (!run->gates[slot].reported) continue;
        fputs(" Gate ", to);
        out_string(to, run->gates[slot].name);
        fprintf(to, ": %s.", verdict_name(run->gates[slot].verdict));
    }
    fputs("</desc>", to);
    curve_grid(curves, to);
    fprintf(to,
            "<svg y=\"%d\" width=\"100%%\" height=\"%d\" viewBox=\"0 0 %d %d\" "
            "preserveAspectRatio=\"none\">",
            (int)CURVE_TOP, (int)CURVE_HEIGHT, (int)SQUARE, (int)SQUARE);
    for (uint32_t c = 0; c < curves->count; c++)
        if (curves->runs[c] != run->index)
            fprintf(to, "<use href=\"#loss-%" PRIu32 "\" class=\"sibling\"/>", curves->runs[c]);
    fprintf(to,
            "<use href=\"#loss-%" PRIu32 "\" class=\"own\"/><use href=\"#held-%" PRIu32
            "\" class=\"held\"/></svg>",
            run->index, run->index);
    for (uint32_t slot = 0; slot < run->gate_count; slot++)
        if (run->gates[slot].reported) gate_mark(curves, &run->gates[slot], to);
    fprintf(to, "<line class=\"base\" x1=\"0\" x2=\"100%%\" y1=\"%d.5\" y2=\"%d.5\"/></svg>",
            CURVE_TOP + CURVE_HEIGHT, CURVE_TOP + CURVE_HEIGHT);
    fprintf(to,
            "<div class=\"axis\" aria-hidden=\"true\"><span>step 0</span><span>%s</span></div>"
            "</figure>\n",
            word_count((uint64_t)curves->step.high).text);
}

void svg_curves(const struct model *model, FILE *to)
{
    struct curves curves = { .model = model };
    choose_runs(&curves);
    if (curves.count == 0) return;
    measure_axes(&curves);
    fputs("<section id=\"curves\"><h2>Loss curves</h2><p class=\"note\">Training loss over "
          "optimizer steps, on one scale for all runs; the other runs are faint. Held-out "
          "losses are "
          "joined by a dashed line. Gates: <b>●</b> GO, <b>✕</b> NO-GO, <b>□</b> HOLD.",
          to);
    if (curves.with_points > curves.count)
        fprintf(to, " Of %s, the %" PRIu32 " that cost most are shown.",
                word_plural(curves.with_points, "run", "runs").text, curves.count);
    fputs("</p>\n", to);
    curve_shapes(&curves, to);
    fputs("<div class=\"curves\">\n", to);
    for (uint32_t c = 0; c < curves.count; c++)
        curve_chart(&curves, &model->runs[curves.runs[c]], to);
    fputs("</div></section>\n", to);
}

/* ---- slots --------------------------------------------------------------------------- */

enum { BAR_HEIGHT = 24 };

/* Where a text fits into a bar: everywhere, on a wide screen only (true, *wide_only), or nowhere. */
static bool label_fits(size_t columns, int64_t width_place, bool *wide_only)
{
    enum { PHONE_PIXELS = 300, WIDE_PIXELS = 780, CHARACTER_PIXELS = 7, PADDING_PIXELS = 8 };
    int64_t need = CHARACTER_PIXELS * (int64_t)columns + PADDING_PIXELS;
    *wide_only = scale_floor(width_place, PHONE_PIXELS, SQUARE) < need;
    return scale_floor(width_place, WIDE_PIXELS, SQUARE) >= need;
}

static void out_label(FILE *to, const char *class, const char *text)
{
    fprintf(to, "<text class=\"name%s\" x=\"4\" y=\"16\">", class);
    out_string(to, text);
    fputs("</text>", to);
}

/* The run's name where there is room, else its number. */
static void bar_label(const struct model_run *run, int64_t width_place, FILE *to)
{
    struct word number = word_count((uint64_t)run->index + 1);
    bool name_wide_only, number_wide_only;
    bool named = label_fits(text_columns(text_of(run->name)), width_place, &name_wide_only);
    bool numbered = label_fits(strlen(number.text), width_place, &number_wide_only);
    if (named) out_label(to, name_wide_only ? " roomy" : "", run->name);
    if (named && name_wide_only && numbered && !number_wide_only)
        out_label(to, " tight", number.text);
    if (!named && numbered) out_label(to, number_wide_only ? " roomy" : "", number.text);
}

static void bar(const struct model *model, const struct model_span *hold,
                const struct axis *time, FILE *to)
{
    const struct model_attempt *attempt = &model->attempts[hold->attempt];
    const char *name = model->runs[attempt->run].name;
    int64_t x = axis_x(time, hold->from_ns);
    int64_t width = max_i64(15, axis_x(time, hold->to_ns) - x);
    fprintf(to,
            "<svg class=\"bar s%" PRIu32 "\" x=\"%s\" width=\"%s\" height=\"%d\"><title>Run ",
            attempt->run % SERIES_COLOURS, share(x).text, share(width).text, (int)BAR_HEIGHT);
    out_string(to, name);
    fprintf(to, ", attempt %" PRIu32 ": %s to %s, %s</title>", attempt->number,
            word_clock(hold->from_ns).text, hold->open ? "now" : word_clock(hold->to_ns).text,
            word_duration(hold->to_ns - hold->from_ns).text);
    fputs("<rect class=\"seg\" width=\"100%\" height=\"100%\"/>", to);
    if (hold->stopping_ns != 0 && hold->to_ns > hold->from_ns) {
        struct axis span = { hold->from_ns, hold->to_ns };
        int64_t from = axis_x(&span, hold->stopping_ns);
        fprintf(to, "<rect x=\"%s\" width=\"%s\" height=\"100%%\" fill=\"url(#hatch)\"/>",
                share(from).text, share(SQUARE - from).text);
    }
    bar_label(&model->runs[attempt->run], width, to);
    fputs("</svg>", to);
}

static void slot_row(const struct model *model, const struct model_worker *worker,
                     const struct axis *time, FILE *to)
{
    fprintf(to, "<div class=\"slot\"><span class=\"who\">%" PRIu32 " <small>", worker->rank);
    out_string(to, worker->host ? worker->host : "?");
    fprintf(to,
            ":%" PRIu32 "</small></span><svg width=\"100%%\" height=\"%d\" role=\"img\">"
            "<title>Worker %" PRIu32 ": busy %s of %s</title>",
            worker->slot, (int)BAR_HEIGHT, worker->rank, word_duration(worker->busy_ns).text,
            word_duration(worker->present_ns).text);
    for (uint32_t i = 0; i < model->presence_count; i++) {
        const struct model_span *presence = &model->presences[i];
        if (presence->worker != worker->rank) continue;
        int64_t x = axis_x(time, presence->from_ns);
        fprintf(to, "<rect class=\"present\" x=\"%s\" width=\"%s\" height=\"%d\"/>",
                share(x).text, share(axis_x(time, presence->to_ns) - x).text, (int)BAR_HEIGHT);
    }
    for (uint32_t i = 0; i < model->hold_count; i++)
        if (model->holds[i].worker == worker->rank) bar(model, &model->holds[i], time, to);
    fprintf(to, "</svg><span class=\"share\">%s</span></div>\n",
            word_percent(worker->occupancy_ppm).text);
}

/* The runs' numbers and colours, as far as they are few enough to be looked up. */
static void slots_legend(const struct model *model, FILE *to)
{
    enum { LEGEND_RUNS_MAX = 64 };
    uint32_t shown = 0;
    fputs("<ul class=\"legend runs\">", to);
    for (uint32_t r = 0; r < model->run_count && shown < LEGEND_RUNS_MAX; r++) {
        if (model->runs[r].attempts == 0) continue;
        fprintf(to,
                "<li><span class=\"key run s%" PRIu32 "\" aria-hidden=\"true\"></span>%" PRIu32
                " ",
                r % SERIES_COLOURS, r + 1);
        out_string(to, model->runs[r].name);
        fputs("</li>", to);
        shown++;
    }
    fputs("</ul>", to);
}

void svg_slots(const struct model *model, FILE *to)
{
    if (model->worker_count == 0 || model->presence_count == 0) return;
    struct axis time = { model->presences[0].from_ns, model->now_ns };
    if (time.high <= time.low) return;
    fputs(
        "<figure class=\"chart slots\"><figcaption><h3>Who held which slot</h3><ul "
        "class=\"legend\"><li><span class=\"key idle\" "
        "aria-hidden=\"true\"></span>idle</li><li><span "
        "class=\"key stopping\" aria-hidden=\"true\"></span>stopping</li><li><span class=\"key "
        "absent\" aria-hidden=\"true\"></span>worker absent</li><li>right: share of its time "
        "that the "
        "slot was held</li></ul></figcaption>\n",
        to);
    for (uint32_t w = 0; w < model->worker_count && w < SLOT_ROWS_MAX; w++)
        slot_row(model, &model->workers[w], &time, to);
    fputs("<div class=\"slot\"><span class=\"who\"></span>", to);
    time_row(to, time.low, time.high);
    fputs("<span class=\"share\"></span></div>", to);
    slots_legend(model, to);
    fputs("</figure>\n", to);
    if (model->worker_count > SLOT_ROWS_MAX)
        fprintf(to, "<p class=\"note\">%s more are in the table below.</p>\n",
                word_plural(model->worker_count - SLOT_ROWS_MAX, "worker", "workers").text);
}
