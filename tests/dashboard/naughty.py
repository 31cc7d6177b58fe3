"""Names that hurt careless pages."""
# ruff: noqa: E501

from __future__ import annotations

#: As they may stand in any text that people or programs give.
STRINGS = [
    "<script>alert(1)</script>", "</script><script>alert(2)</script>", "<img src=x onerror=alert(3)>",
    "<svg onload=alert(4)>", "<svg><script>alert(5)</script></svg>", "\"><img src=x onerror=alert(6)>",
    "'><script>alert(7)</script>", "' onmouseover='alert(8)", "\" autofocus onfocus=alert(9) x=\"",
    "<iframe src=javascript:alert(10)></iframe>", "javascript:alert(11)", "data:text/html,<script>alert(12)</script>",
    "<a href=javascript:alert(13)>x</a>", "<style>*{display:none}</style>", "<link rel=stylesheet href=//evil.example>",
    "<base href=//evil.example/>", "<meta http-equiv=refresh content=0;url=//evil.example>",
    "<form action=//evil.example><button>x</button></form>", "<math><mi xlink:href=javascript:alert(14)>x</mi></math>",
    "<template><script>alert(15)</script></template>", "<!-- --!> <script>alert(16)</script>", "]]><script>alert(17)</script>",
    "<details open ontoggle=alert(18)>", "<video><source onerror=alert(19)>", "<b>bold</b><i>it</i><sub>2</sub><br>x",
    "{{7*7}}", "${7*7}", "#{7*7}", "<%= 7*7 %>", "{% raw %}", "%{x} %{y:.2f} %{customdata}", "$\\alpha$", "$$x$$",
    "__proto__", "constructor", "toString", "hasOwnProperty", "null", "undefined", "NaN", "true", "0", "-0", "1e999",
    "; DROP TABLE runs; --", "' OR '1'='1", "$(rm -rf /)", "`id`", "| cat /etc/passwd", "../../etc/passwd", "C:\\con\\nul",
    "%s%n%x", "%00", "&lt;script&gt;", "&#x3c;b&#x3e;", "\\u003cscript\\u003e", "😀👩‍👩‍👧‍👦🏳️‍🌈", "Z̷̢͓a̵l̴g̶o̸",
    "ﷺ" * 6, "מזל טוב", "مرحبا بالعالم", "田中さんにあげて下さい", "Ω≈ç√∫˜µ≤≥÷", "\u200b\u200c\u200d\ufeff",
    "a" * 400, "W" * 64 + " " + "i" * 64, "x, y\\, z", 'quote"d', "it's", "tab\u00a0space", "=cmd|' /C calc'!A0", "+1-1@x",
]  # fmt: skip

#: The same for a place that takes at most so many characters.
SHORT = [each for each in STRINGS if len(each) <= 60]
#: For names of files in a run: no percent sign, no backslash, no slash at the ends.
PATHS = [each for each in STRINGS if len(each) <= 100 and not set("%\\") & set(each) and "/" not in each]

#: What a terminal may be told in a log.
LINES = [
    "\x1b]8;;javascript:alert(20)\x07link\x1b]8;;\x07", "\x1b]52;c;YWxlcnQ=\x07", "\x1b[2J\x1b[H", "\x1b[?1049h", "\x1b]0;title\x07x",
    "\x1b[38;2;255;0;0mred\x1b[0m", "\x1b[38;5;300mx", "\x9b31mC1\x9b0m", "\x1bP1;2|data\x1b\\after", "a\x08\x08b", "50%\r100%\r",
    "\u202eright to left\u202c", "\x00\x01\x02\x7f", "\ud7ff\ufffe\uffff", "\x1b[31", "\x1b", "\x1b[999999999999m1", "x" * 20000,
]  # fmt: skip
