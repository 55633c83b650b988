#include "scheduler/report/style.h"

#include "proto/base/defs.h"

/* clang-format off: a style sheet reads better one rule a line. */
static const char *const lines[] = {
    ":root{color-scheme:light "
    "dark;--bg:#fbfbfa;--card:#fff;--ink:#1b1f24;--soft:#5a636e;--line:#e1e3e6;",
    "--grid:#eceef0;--good:#1f6f45;--bad:#a3282a;--wait:#8a5a00;--waitbg:#fdf6e6;--on:#fff;--"
    "spent:#2f5f9e;",
    "--s0:#2f5f9e;--s1:#a85b14;--s2:#2e7550;--s3:#86407a;--s4:#a3352f;--s5:#1f7380;--s6:#"
    "6f6120;--s7:#4f53a3}",
    "@media "
    "(prefers-color-scheme:dark){:root{--bg:#14171b;--card:#1b1f24;--ink:#e6e8eb;--soft:#"
    "9aa4af;",
    "--line:#2d333a;--grid:#272c33;--good:#6cc793;--bad:#f08a85;--wait:#e3b341;--waitbg:#"
    "2a2415;--on:#10131a;",
    "--spent:#7fb0ee;--s0:#7fb0ee;--s1:#e5a25f;--s2:#74c69d;--s3:#d296c8;--s4:#ef938c;--s5:#"
    "6bc3d0;",
    "--s6:#cfbe6a;--s7:#a5a9f0}}",
    "*{box-sizing:border-box}html{-webkit-text-size-adjust:100%}",
    "body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 "
    "system-ui,-apple-system,'Segoe UI',",
    "Roboto,'Helvetica Neue',Arial,sans-serif;font-variant-numeric:tabular-nums}",
    "main,header,footer{max-width:1120px;margin:0 auto;padding:0 24px}header{padding-top:36px}",
    ".kicker{margin:0;color:var(--soft);font-size:13px;letter-spacing:.04em}",
    "h1{margin:2px 0 0;font-size:30px;line-height:1.2;font-weight:650;letter-spacing:-.01em;",
    "overflow-wrap:anywhere}",
    "h2{margin:44px 0 "
    "10px;font-size:19px;font-weight:650}h3{margin:0;font-size:15px;font-weight:600}",
    ".headline{margin:14px 0 "
    "0;font-size:18px;line-height:1.45;max-width:46em;overflow-wrap:anywhere}",
    ".chip{display:inline-block;margin-left:10px;padding:1px 10px;border:1px solid "
    "currentColor;",
    "border-radius:999px;font-size:13px;font-weight:600;vertical-align:middle;letter-spacing:"
    "0}",
    ".period{margin:6px 0 0;color:var(--soft);font-size:13px}",
    ".note{margin:8px 0 0;color:var(--soft);font-size:13px;max-width:60em}",
    ".good{color:var(--good)}.bad{color:var(--bad)}.wait{color:var(--wait)}.muted{color:var(--"
    "soft)}",
    "td .good,td.good,td.bad,td.wait{font-weight:600}",
    ".tiles{display:grid;grid-template-columns:repeat(4,1fr);gap:12px;margin:24px 0 "
    "0;padding:0;list-style:none}",
    ".tiles li{padding:14px 16px;background:var(--card);border:1px solid "
    "var(--line);border-radius:8px}",
    ".tiles span{display:block;color:var(--soft);font-size:13px}",
    ".tiles "
    "b{display:block;font-size:22px;font-weight:600;line-height:1.35;overflow-wrap:anywhere}",
    ".waits{margin:20px 0 0;padding:0;list-style:none}",
    ".waits li{margin:8px 0 0;padding:12px 16px;background:var(--waitbg);border:1px solid "
    "var(--line);",
    "border-left:4px solid var(--wait);border-radius:6px;overflow-wrap:anywhere}",
    "code,pre,.mono{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans "
    "Mono',monospace;",
    "font-size:12.5px}",
    ".waits code{display:block;margin-top:4px;color:var(--soft);overflow-wrap:anywhere}",
    "nav{margin:22px 0 0;font-size:13px}nav "
    "a{display:inline-block;margin-right:14px;color:var(--soft)}",
    "a{color:inherit;text-underline-offset:3px}a:focus-visible,.scroll:focus-visible,summary:"
    "focus-visible",
    "{outline:2px solid var(--spent);outline-offset:2px}",
    ".meter{display:block;width:100%;margin:4px 0 14px}.meter rect{stroke:none}",
    ".meter .track{fill:var(--grid)}.meter .m-approved{fill:var(--line)}",
    ".meter .m-released{fill:var(--soft);opacity:.35}.meter "
    ".m-reserved{fill:var(--spent);opacity:.45}",
    ".meter .m-spent{fill:var(--spent)}",
    ".figures{display:grid;grid-template-columns:max-content max-content 1fr;gap:3px "
    "20px;margin:0}",
    ".figures div{display:contents}.figures dt{color:var(--soft)}",
    ".figures dd{margin:0;text-align:right;font-weight:600}",
    ".figures dd+dd{text-align:left;font-weight:400;color:var(--soft)}",
    ".scroll{overflow-x:auto;margin:0 -4px;padding:0 4px}",
    "table{width:100%;border-collapse:collapse;font-size:14px}",
    "th,td{padding:7px 14px 7px 0;text-align:left;vertical-align:baseline;border-top:1px solid "
    "var(--line)}",
    "th:last-child,td:last-child{padding-right:0}",
    "thead "
    "th{border-top:0;color:var(--soft);font-size:13px;font-weight:500;white-space:nowrap}",
    "tbody th{font-weight:600;overflow-wrap:anywhere;min-width:6em}.right{text-align:right}",
    "td.right{white-space:nowrap}.right+td:not(.right),.right+th:not(.right){padding-left:"
    "14px}",
    ".slots{margin-bottom:22px}",
    "tr.more "
    "td{border-top:0;padding-top:0;color:var(--soft);font-size:13px;overflow-wrap:anywhere}",
    "pre{margin:4px 0 2px;padding:8px "
    "12px;background:var(--grid);border-radius:6px;color:var(--ink);",
    "white-space:pre-wrap;overflow-wrap:anywhere;max-height:20em;overflow:auto}",
    "figure{margin:0}figcaption{margin-bottom:8px}.chart{margin-top:28px}svg{display:block}",
    "svg svg{display:inline}svg text{font-family:inherit;font-size:11.5px;fill:var(--soft)}",
    "svg .tick,svg "
    ".label{paint-order:stroke;stroke:var(--bg);stroke-width:3px;stroke-linejoin:round}",
    ".curve .tick,.curve .label{stroke:var(--card)}",
    ".defs{position:absolute}.at{overflow:visible}",
    ".legend{display:flex;flex-wrap:wrap;gap:2px 18px;margin:4px 0 "
    "0;padding:0;list-style:none;font-size:13px;",
    "color:var(--soft)}.legend b{color:var(--ink);font-weight:600}",
    ".key{display:inline-block;width:18px;height:10px;margin-right:6px;vertical-align:middle;"
    "border-radius:2px}",
    ".key.spent{background:var(--spent)}.key.reserved{background:var(--spent);opacity:.35}",
    ".key.released{height:0;border-top:2px dotted var(--soft);border-radius:0}",
    ".key.approved{height:0;border-top:2px dashed var(--ink);border-radius:0}",
    ".key.idle{background:var(--grid);border:1px solid var(--line)}.key.absent{border:1px "
    "dashed var(--line)}",
    ".key.stopping{background:repeating-linear-gradient(135deg,var(--soft) 0 3px,transparent "
    "3px 6px)}",
    ".grid{stroke:var(--grid)}.base{stroke:var(--line)}.line,.own,.held,.sibling{fill:none;",
    "vector-effect:non-scaling-stroke;stroke-linejoin:round}",
    ".line.spent{stroke:var(--spent);stroke-width:2}.line.released{stroke:var(--soft);stroke-"
    "width:1.6;",
    "stroke-dasharray:2 3}.line.approved{stroke:var(--ink);stroke-width:1.6;stroke-dasharray:7 "
    "4}",
    ".area.spent{fill:var(--spent);opacity:.2}.area.reserved{fill:var(--spent);opacity:.16}",
    ".axis{display:flex;justify-content:space-between;margin-top:3px;color:var(--soft);font-"
    "size:11.5px;",
    "width:100%}",
    ".curves{display:grid;grid-template-columns:repeat(auto-fill,minmax(300px,1fr));gap:20px "
    "24px;",
    "margin-top:14px}",
    ".curve{padding:12px 14px;background:var(--card);border:1px solid "
    "var(--line);border-radius:8px;min-width:0}",
    ".curve "
    "figcaption{display:flex;gap:8px;align-items:baseline;font-size:14px;margin-bottom:2px}",
    ".curve figcaption "
    "b{overflow:hidden;text-overflow:ellipsis;white-space:nowrap;border-bottom:2px solid "
    "var(--c)}",
    ".curve .state{color:var(--soft);font-size:13px}.curve "
    ".best{margin-left:auto;font-size:13px;",
    "white-space:nowrap}",
    ".own{stroke:var(--c);stroke-width:2}.held{stroke:var(--ink);stroke-width:1.4;stroke-"
    "dasharray:4 3}",
    ".sibling{stroke:var(--soft);stroke-width:1;opacity:.28}",
    ".own path,.held path,.sibling path{vector-effect:non-scaling-stroke}",
    ".gate{stroke:var(--soft);stroke-dasharray:2 3;opacity:.7}svg "
    ".label{fill:var(--ink);font-size:11px}",
    ".mark{stroke-width:2;stroke:var(--card);fill:var(--ink)}.mark.go{fill:var(--good)}",
    ".mark.no-go{stroke:var(--bad);stroke-width:2.6;fill:none}.mark.hold{stroke:var(--wait);"
    "fill:var(--card)}",
    ".slot{display:grid;grid-template-columns:130px 1fr "
    "60px;gap:12px;align-items:center;margin-top:4px}",
    ".slot "
    ".who{font-size:13px;font-weight:600;overflow:hidden;text-overflow:ellipsis;white-space:"
    "nowrap}",
    ".slot small{font-weight:400;color:var(--soft)}.slot "
    ".share{font-size:13px;text-align:right;",
    "color:var(--soft)}",
    ".present{fill:var(--grid)}.seg{fill:var(--c);stroke:var(--bg);stroke-width:1}.hatch{fill:"
    "var(--bg);",
    "opacity:.55}svg text.name{fill:var(--on);font-weight:600}",
    ".s0{--c:var(--s0)}.s1{--c:var(--s1)}.s2{--c:var(--s2)}.s3{--c:var(--s3)}.s4{--c:var(--s4)"
    "}",
    ".s5{--c:var(--s5)}.s6{--c:var(--s6)}.s7{--c:var(--s7)}",
    ".key.run{background:var(--c)}.legend.runs{margin-top:8px}.tight{display:none}",
    ".list{margin:0;padding-left:1.2em}.list li{margin:3px 0;overflow-wrap:anywhere}",
    "details summary{cursor:pointer;color:var(--soft)}details .list{margin-top:8px}",
    "footer{margin-top:48px;padding-top:18px;padding-bottom:48px;color:var(--soft);font-size:"
    "13px}",
    "footer .mono{overflow-wrap:anywhere}footer::before{content:'';display:block;height:1px;",
    "background:var(--line);margin-bottom:18px}",
    "@media "
    "(max-width:720px){main,header,footer{padding-left:16px;padding-right:16px}h1{font-size:"
    "25px}",
    "header{padding-top:24px}.headline{font-size:16px}.tiles{grid-template-columns:1fr 1fr}",
    ".tiles b{font-size:18px}nav{display:none}.roomy{display:none}.tight{display:inline}",
    ".slot{grid-template-columns:1fr 60px;gap:0 10px;margin-top:10px}.slot "
    ".who{grid-column:1/-1}",
    ".figures{grid-template-columns:max-content 1fr;gap:3px 16px}.figures "
    "dd+dd{grid-column:1/-1;",
    "font-size:13px;margin-bottom:4px}.figures dd+dd:empty{display:none}",
    "table,tbody{display:block}thead{position:absolute;width:1px;height:1px;overflow:hidden;",
    "clip-path:inset(50%)}",
    "tbody tr{display:grid;grid-template-columns:1fr 1fr;gap:1px 20px;padding:10px 0;",
    "border-top:1px solid var(--line)}",
    "tbody tr.more{border-top:0;padding-top:0;margin-top:-8px;display:block}",
    "tbody th,tbody td,tbody .right+td:not(.right){border:0;padding:0;min-width:0}tbody "
    "th{grid-column:1/-1;font-size:15px}",
    "tbody "
    "td:not(.more){display:flex;justify-content:space-between;gap:10px;white-space:normal;",
    "text-align:right}",
    "tbody "
    "td[data-l]::before{content:attr(data-l);color:var(--soft);font-weight:400;text-align:"
    "left}",
    "tbody td:empty{display:none}}",
    "@media print{body{background:#fff}nav{display:none}.curve,.tiles li{break-inside:avoid}}",
};
/* clang-format on */

void style_write(FILE *to)
{
    fputs("<style>\n", to);
    for (size_t i = 0; i < ARRAY_COUNT(lines); i++) {
        fputs(lines[i], to);
        fputc('\n', to);
    }
    fputs("</style>\n", to);
}
