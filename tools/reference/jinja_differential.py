#!/usr/bin/env python3
"""Compares our chat-template renderer with jinja2 on many small templates.

jinja2 runs in the environment that transformers uses for chat templates. Templates are the
handwritten ones below and random ones: operators, filters, tests and string methods applied to
values of every type. Both sides must give the same text, or both an error.

usage: jinja_differential.py [--seed N] [--count N] [--show N] -- COMMAND ...
COMMAND reads lines {"template", "context"} and writes lines {"text"} or {"error"}, in order:
    jinja_differential.py -- ruvllm render --now 2025-03-14T15:09:26 --jsonl /dev/stdin
Needs: pip install jinja2
"""
import argparse
import copy
import datetime
import json
import random
import subprocess
import sys
import warnings

import jinja2
import jinja2.ext
import jinja2.sandbox

CONTEXT = {
    "name": "World", "n": 7, "x": 3.5, "t": True, "f": False, "none": None, "empty": "", "z": 0,
    "items": [3, 1, 2], "words": ["b", "A", "c"], "e": [], "neg": -12, "big": 12345678901234,
    "d": {"a": 1, "b": [1, 2], "c c": None}, "s": "  Hello, wörld! <b>  ", "uni": "日本🙂é ǅ ß İ",
    "users": [{"n": "Ann", "age": 30, "on": True}, {"n": "Bob", "age": 25, "on": False},
              {"n": "Cid", "age": 30, "on": True}],
    "html": "<a href='x'>\"&\"</a>", "nested": {"k": {"l": [{"m": 5}]}}, "quote": "it's \"q\"",
    "long": "line1\nline2\n\n  line4\r\nfive\tsix", "tiny": 1e-7, "huge": 1.5e300, "mixed": [1, "a", None, 2.5, True, [1], {"k": "v"}],
    "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": [{"type": "text", "text": "yo"}]}],
}


class GenerationTag(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        lineno = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(lineno)

    def _body(self, caller):
        return caller()


def make_environment():
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda f: datetime.datetime(2025, 3, 14, 15, 9, 26).strftime(f)
    return env


VALUES = """name|n|x|t|f|none|empty|z|items|words|e|neg|big|d|s|uni|users|html|nested|quote|long|tiny|huge|mixed|undefined_thing|0|1|2|-3|2.5|0.0|'ab'|'Ab cD'|''|'a,b,,c'|' x '|[]|[1, 2, 3]|['b', 'a']|{}|{'a': 1}|{'b': 2, 'a': 1}|(1, 2)|()|(1,)|true|'é'|'🙂'|'ß'|'ǆ'|'ΑΣ'|'x_y-z'|'12'|'-7'|'3.5'|'1e3'|range(3)|range(5, 0, -2)|d.items()|d.keys()|10**20|1e16|1e-5|100|255|1.0|(-0.0)|'%s'|'{}'|'a\\nb'|users[0]|users[1].n|d.b|words[0]|s[2:7]|'aXbXc'|'Hello World'|'%d'|-1|3|'n'|'age'|' '|'a'|','|7.5|1234.5678|'X'|4|(9**30)""".split("|")
FILTERS = """abs attr('a') attr(V) batch(2) batch(2,V) batch(V) capitalize center(V) center(9) count d(V) default(V) default(V,true) dictsort dictsort(by='value') dictsort(true)
dictsort(reverse=true) e escape filesizeformat filesizeformat(true) first float float(V) forceescape format(V) format(V,V) groupby('age') groupby(V) indent indent(2) indent(2,true) indent(V) indent(blank=true)
int int(V) int(5,16) int(base=0) int(0,V) join join(V) join(',') join(V,attribute='n') last length list lower items map('upper') map('int') map('string') map(attribute='n') map(attribute=V) map(attribute='age',default=V)
map('default',V) map('replace','a',V) min max min(attribute='age') max(true) max(attribute=V) pprint reject reject('odd') reject(V) rejectattr('on') rejectattr(V) rejectattr('age','gt',26) replace('a',V) replace(V,V) replace(V,V,1) replace('',V)
reverse round round(1) round(V) round(-1) round(2,'floor') round(1,'ceil') round(V,'floor') safe select select('even') select('in',V) select('string') select('defined') selectattr('on') selectattr('age','equalto',30) selectattr('n','in',V) selectattr(V)
slice(2) slice(2,V) slice(V) sort sort(true) sort(case_sensitive=true) sort(attribute='age') sort(attribute='age,n') sort(reverse=V) sort(attribute=V) string striptags sum sum(start=V) sum(attribute='age') sum(V)
title trim trim(V) truncate truncate(3) truncate(5,true) truncate(V) truncate(6,false,'..',0) truncate(9,V,V) unique unique(true) unique(attribute='age') upper urlencode wordcount wordwrap(5) wordwrap(V) wordwrap(3,false) xmlattr
tojson tojson(indent=2) tojson(indent=V) tojson(sort_keys=true) tojson(separators=(',',':')) tojson(ensure_ascii=true) tojson(V) nosuch""".split()
TESTS = """boolean callable defined divisibleby(V) divisibleby(3) eq(V) equalto(V) escaped even false filter float ge(V) gt(V) greaterthan(V) in(V) integer iterable le(V) lower lt(V) lessthan(V)
mapping ne(V) none number odd sameas(V) sequence string test true undefined upper nosuch""".split()
METHODS = """upper() lower() title() capitalize() swapcase() casefold() strip() strip(V) lstrip() lstrip(V) rstrip() rstrip(V) split() split(V) split(V,1) split(maxsplit=1) split(none,V) rsplit() rsplit(V) rsplit(V,1) rsplit(none,1) splitlines() splitlines(true)
startswith(V) startswith((V,V)) startswith(V,V) endswith(V) endswith((V,'x')) find(V) find(V,1) find(V,V,V) rfind(V) index(V) rindex(V) count(V) count(V,V) replace(V,V) replace(V,V,V) join(V) zfill(V) zfill(5) ljust(V) ljust(8,V) rjust(9) rjust(V,'*')
center(V) center(8,'*') center(9,V) partition(V) rpartition(V) isdigit() isalpha() isalnum() isspace() islower() isupper() istitle() isdecimal() isnumeric() isidentifier() isprintable() isascii() removeprefix(V) removesuffix(V) expandtabs() expandtabs(V)
format(V) format(V,V) format_map(d) encode items() keys() values() get(V) get(V,V) copy() index(V) count(V) append(V) update(V) pop() a n b age fromkeys(V) bit_length() is_integer() real __class__ _x 0 1""".split()
BINARY = ["+", "-", "*", "/", "//", "%", "**", "~", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "and", "or"]
SPECS = ["", "5", ">5", "<5", "^7", "*^9", "05", "+", " ", "+05", ",", "_", ".2f", ".0f", "8.3f", "e", ".3e", "g", ".3g", "%", ".1%", "d", "x", "#x", "X", "b", "#b", "o", "c", "s", ".2", "10,", "010,", "012,.2f", "=+6", "n", "r", "5.1", "é^7", "E", "G", "#.0f", "#g"]
PERCENTS = ["%s", "%d", "%5d", "%-5d|", "%05d", "%+d", "% d", "%x", "%X", "%#x", "%o", "%#o", "%e", "%.2e", "%f", "%.1f", "%8.2f", "%g", "%.3g", "%G", "%c", "%r", "%a", "%%", "%5s|", "%-5s|", "%.2s", "%i", "%u", "%(a)s", "%(a)05d", "%*d", "%.*f", "%#g", "%q", "%", "%.3d", "%+.2e", "%ld"]

HANDWRITTEN = r'''
{{ 9 ** 9 ** 9 }}
{{ 2 ** 100 }} {{ -(2 ** 100) }} {{ 2 ** 100 // 7 }} {{ -(2 ** 100) // 7 }} {{ -(2**100) % 7 }} {{ 2 ** 100 / 3 }} {{ 7 / 2 ** 100 }} {{ (2 ** 64) == 2.0 ** 64 }}
{{ 9007199254740993 / 3 }} {{ 9223372036854775807 * 9223372036854775807 }} {{ -9223372036854775807 - 1 }} {{ (-9223372036854775807 - 1) // -1 }} {{ 9007199254740993 < 9007199254740992.0 }}
{{ 0.1 + 0.2 }} {{ 1e22 }} {{ 1e23 }} {{ 5e-324 }} {{ 1.7976931348623157e308 }} {{ 1e308 * 10 }} {{ 123456789012345680.0 }} {{ 1e15 }} {{ 0.0001 }} {{ 0.00001 }}
{{ -7 // 2 }} {{ 7 // -2 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 7.5 // 2 }} {{ -7.5 // 2 }} {{ -7.5 % 2 }} {{ 7.5 % -2 }} {{ 0.0 // 3 }} {{ -0.0 }} {{ 3 % 0.7 }}
{{ 1 if }}
{{ 'a' 'b' ~ 'c' }} {{ "a\x41\u00e9\101\n\q\'" }} {{ '\é' }}
{% for i in items %}{{ loop.index }}{% if not loop.last %},{% endif %}{% endfor %}
{% for i in items recursive %}{{ i }}{{ loop.depth }}{% endfor %}
{% for a in [1,[2,[3,4]],5] recursive %}{% if a is number %}{{ a }}@{{ loop.depth }} {% else %}({{ loop(a) }}){% endif %}{% else %}none{% endfor %}
{% for i in [] %}x{% else %}empty{% endfor %}{% for i in range(5) if i % 2 %}{{ loop.length }}{{ loop.revindex }}{{ i }} {% else %}no{% endfor %}
{% for i in range(4) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{{ loop.previtem }}{{ loop.nextitem }};{% endfor %}
{% for i in range(3) %}{% set q = i %}{% endfor %}{{ q }}
{% set q = 1 %}{% for i in range(3) %}{{ q }}{% set q = i %}{{ q }}{% endfor %}{{ q }}
{% if true %}{% set q = 5 %}{% endif %}{{ q }}{% with q = 6, r = q %}{{ q }}{{ r }}{% set q = 7 %}{{ q }}{% endwith %}{{ q }}
{% set ns = namespace(a=1) %}{% for i in range(3) %}{% set ns.a = ns.a + i %}{% endfor %}{{ ns.a }}{{ ns }}{{ ns.b }}{{ ns.b is defined }}
{% set ns = namespace(a=1) %}{% set ns.a, b = 5, 6 %}{{ ns.a }}{{ b }}{% set ns.x %}blk{% endset %}{{ ns.x }}
{% set a, b = [1, 2] %}{{ a }}{{ b }}{% set (c, d), e = (1, 2), 3 %}{{ c }}{{ d }}{{ e }}
{% set a, b = [1, 2, 3] %}
{% set d.a = 1 %}
{% macro m(a, b=2, *c) %}{% endmacro %}
{% macro m(a, b=a) %}[{{ a }},{{ b }}]{% endmacro %}{{ m(1) }}{{ m(1, 3) }}{{ m(b=1, a=2) }}{{ m() }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(b=2) }}
{% macro m(a) %}{{ varargs }}{{ kwargs }}{{ a }}{% endmacro %}{{ m(1, 2, 3, k=4) }}
{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}in {{ name }}{% endcall %}{{ m.name }}{{ m.caller }}
{% macro m() %}x{% endmacro %}{% call m() %}in{% endcall %}
{% macro m(l) %}{% for i in l %}{{ caller(i, loop.index) }}{% endfor %}{% endmacro %}{% call(i, j=9) m(items) %}<{{ i }}:{{ j }}>{% endcall %}
{% macro f(k) %}{% if k %}{{ k }}{{ f(k - 1) }}{% endif %}{% endmacro %}{{ f(5) }}
{% macro outer() %}{% macro inner(v) %}({{ v }}){% endmacro %}{{ inner(1) }}{% endmacro %}{{ outer() }}{{ inner }}
{{ m() }}{% macro m() %}late{% endmacro %}
{% set q = 'top' %}{% macro m() %}{{ q }}{% set q = 'in' %}{{ q }}{% endmacro %}{{ m() }}{{ q }}{% set q = 'new' %}{{ m() }}
{% filter upper %}a{{ name }}{% endfilter %}{% filter replace('a', 'b') | upper %}aaa{% endfilter %}
{% set v | upper | trim %} a{{ name }} {% endset %}[{{ v }}]
{% block a %}blk {{ name }}{% endblock %}{% for i in items %}{% block b scoped %}{{ i }}{% endblock %}{% endfor %}
{% for i in items %}{% block b2 %}[{{ i }}]{% endblock %}{% endfor %}
{% block a %}1{% endblock %}{% block a %}2{% endblock %}
{% generation %}gen {{ name }}{% set q = 1 %}{% endgeneration %}{{ q }}
{% print 1, 2 %}{% print 'x' %}
{% autoescape false %}{{ html }}{% endautoescape %}
{{ html | safe }}{{ html | e | e }}{{ (html | safe) ~ '<' }}{{ (html | safe) + '<' }}{{ ('<i>' | safe) % 1 }}{{ ('%s' | safe) % '<' }}{{ (['<'] | join('<' | safe)) }}{{ ('<' | safe) | upper is escaped }}
{{ ('<b>{}</b>' | safe).format('<') }}{{ ('<' | safe).join(['>', '<' | safe]) }}{{ ('<x' | safe)[0] ~ '<' }}{{ [html | e] }}
{{ joiner }}{% set j = joiner() %}{{ j() }}{{ j() }}{{ j() }}{% set j = joiner('|') %}{{ j() }}{{ j() }}
{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.next() }}{{ c.reset() }}{{ c.current }}
{{ dict(a=1) }}{{ dict([('a', 1), ('b', 2)], c=3) }}{{ dict({'a': 1}, a=2) }}{{ dict(5) }}
{{ {'a': 1, 'a': 2} }}{{ {1: 'a', 1.0: 'b', true: 'c'} }}{{ {(1, 2): 3}[(1, 2)] }}
{{ {[]: 1} }}
{{ d.items }}
{{ [1, 2] | map('nosuch') | list }}
{{ [1, 2] | map('nosuch') is iterable }}
{{ (users | map(attribute='n')) | length }}
{% set g = users | map(attribute='n') %}{{ g | list }}{{ g | list }}
{% set g = items | select('odd') %}{% for i in g %}{{ loop.length }}{{ i }}{% endfor %}{% for i in g %}again{% endfor %}
{{ (items | reverse) is sequence }}{{ items | reverse | first }}{{ (items | map('string'))[0] }}
{{ true + true }}{{ -true }}{{ +true }}{{ true * 'ab' }}{{ 2 * [1] }}{{ 'ab' * -1 }}{{ true & 1 }}
{{ 1 < 2 < 3 }}{{ 1 < 3 < 2 }}{{ 1 == 1.0 == true }}{{ 'a' < 'b' <= 'b' }}{{ [1, 2] < [1, 3] }}{{ (1,) < (1, 2) }}{{ 'a' in 'abc' in 'xabcx' }}
{{ none < 1 }}
{{ 'a' < 1 }}
{{ undefined_thing == undefined_thing }}{{ undefined_thing == none }}{{ undefined_thing ~ 'x' }}{{ 'x' in undefined_thing }}{{ undefined_thing or 'd' }}{{ not undefined_thing }}{{ [undefined_thing] }}
{{ undefined_thing.a }}
{{ undefined_thing['a'] }}
{{ undefined_thing() }}
{{ d.zz.yy }}
{{ items.append }}{{ items.zz }}{{ n.zz }}{{ none.zz }}{{ name.zz }}{{ ''.__class__ }}
{{ items.append(1) }}
{{ ''.__class__.__mro__ }}
{{ 'abc'[1] }}{{ 'abc'['1'] }}{{ items['0'] }}{{ items[true] }}{{ items[1.0] }}{{ items[-4] }}{{ items.0 }}{{ 'é🙂x'[-2] }}{{ d['a'] }}{{ d[0] }}{{ (1, 2)[0] }}
{{ items[::0] }}
{{ items[1:] }}{{ items[:-1] }}{{ items[::-1] }}{{ items[5:] }}{{ items[-100:2] }}{{ 'é🙂x'[::-1] }}{{ range(10)[2:5] | list }}{{ range(10)[::-3] | list }}{{ items[none:none:none] }}
{{ items['a':] }}
{{ d[1:] }}
{{ x is defined and y is not defined }}{{ n is divisibleby 7 }}{{ n is not number }}{{ 3 is in [1, 3] }}{{ n is sameas n }}{{ n is eq 7 and t }}
{{ 'a' if undefined_thing else 'b' }}{{ 'a' if false }}{{ ('a' if false) is undefined }}
{{ x is defined if y }}
{{ [1, 2, 3,] }}{{ (1, 2,) }}{{ {'a': 1,} }}{{ range(3,) | list }}
{{ [1 2] }}
{{ f(a=1, 2) }}
{{ dict(a=1, a=2) }}
{{ range(*[1, 4]) | list }}{{ dict(**{'a': 1}) }}{{ '{}{}'.format(*'ab') }}
{%- raw -%} {{ x }} {%- endraw -%} y
a {%- raw %} b {% endraw -%} c
{# c #}{#- c -#} x {#+ c +#} y
  {# c #}
  x
a
  {%- if true -%}
  b
  {%- endif +%}
  c
{{ "a" }}


	{%+ if true %} y {% endif %}
{% if true %}

x
{% endif %}

y
{{- ' x ' -}}
   z
{{+ 'x' }}
{%- set x = 1 -%}
{{ 'x' -}}

y
{% for i in items -%}
  {{ i }}
{%- endfor %}
{% if n == 7 %}a{% elif n == 8 %}b{% else %}c{% endif %}{% if not (n == 7) %}d{% elif none %}e{% endif %}
{% if n | nosuch %}{% endif %}
{% if false %}{{ n | nosuch }}{% endif %}ok
{% if false %}{% for i in e %}{{ n | nosuch }}{% endfor %}{% endif %}ok
{{ n | nosuch if false else 1 }}
{% for i in e %}{{ i | nosuch }}{% endfor %}
{% if false %}{% include 'x' %}{% endif %}ok
{% include 'x' %}
{% import 'x' as y %}
{% from 'x' import y %}
{% extends 'x' %}
{% break %}
{% for i in items %}{% macro m() %}{% break %}{% endmacro %}{% endfor %}
{% for i in items %}{% set x %}{% break %}{% endset %}{{ i }}{% endfor %}done
{% for i in items %}a{% filter upper %}b{% if i == 1 %}{% continue %}{% endif %}c{% endfilter %}d{% endfor %}
{% for loop in items %}{% endfor %}
{% for i in items %}{% set loop = 1 %}{% endfor %}
{% set none = 1 %}
{% set 1 = 1 %}
{% set a.b.c = 1 %}
{% endif %}
{% if %}{% endif %}
{% for i items %}{% endfor %}
{{ }}
{{ ) }}
{{ ( }}
{{ 'a }}
{{ a b }}
{{ a.1b }}
{{ 1.5.real }}{{ 5.real }}
{{ 0x1F }}{{ 0b11 }}{{ 0o17 }}{{ 1_000 }}{{ 1e3 }}{{ 1.5e-3 }}{{ 00 }}{{ 1_0.5 }}
{{ 007 }}
{{ 1__0 }}
{{ 0x }}
{{ é }}{% set é = 5 %}{{ é }}
{{ a$b }}
{{ a; b }}
{{ 'a' | upper | lower | title }}{{ 'a' | upper() }}{{ 1 | string | int + 1 }}{{ -1 | abs }}{{ (-1) | abs }}{{ 2 ** 3 ** 2 }}{{ -2 ** 2 }}{{ not 1 == 2 }}{{ 1 + 2 ~ 3 * 4 }}
{{ 1 ~ 2 + 3 }}{{ '1' ~ 2 == '12' }}{{ 10 - 2 - 3 }}{{ 2 * 3 % 4 }}{{ 'a' if 1 else 'b' if 0 else 'c' }}{{ 1 or 2 and 0 }}{{ not false and false }}
{{ strftime_now('%Y-%m-%d %H:%M:%S %a %A %b %B %d %e %j %U %W %V %G %u %w %y %C %I %l %k %p %P %M %S %T %D %F %R %r %c %x %X %n %t %% %Z %z %f %h %-d %-m %_d %^a %#p %Q %') }}
{{ raise_exception('x' ~ 1) }}
{{ '{0} {1} {0}'.format(1, 2) }}{{ '{a.b} {b[0]} {c[k]}'.format(a={'b': 1}, b=[5], c={'k': 2}) }}{{ '{!r} {!s} {!a}'.format('é', 1, 'é') }}{{ '{{}}'.format() }}{{ '{:>{w}}|'.format(1, w=5) }}
{{ '{} {0}'.format(1, 2) }}
{{ '{}'.format() }}
{{ '{x}'.format(y=1) }}
{{ '{'.format(1) }}
{{ '}'.format(1) }}
{{ '{:d}'.format('x') }}
{{ '{:5}'.format(none) }}
{{ '{0.__class__}'.format(1) }}
{{ '%s %s' % (1,) }}
{{ '%s' % (1, 2) }}
{{ 'x' % 5 }}
{{ 'x' % [5] }}{{ 'x' % {'a': 1} }}{{ '%s' % [1, 2] }}{{ '%(a)s' % {'a': 5} }}{{ '%s' % {'a': 1} }}
{{ '%d' % 'x' }}
{{ '%d' % 3.99 }}{{ '%d' % true }}{{ '%s' % none }}{{ '%5.1f|%-8s|%+d' % (2.25, 'ab', 5) }}
{{ 'one two-three four five' | wordwrap(7) }}|{{ 'aaaaaaaaaaaaaaa bb' | wordwrap(5) }}|{{ 'a b\n\nc d e f' | wordwrap(3) }}|{{ 'x-y-z-longword' | wordwrap(6, wrapstring='/') }}|{{ 'hyphen-ated words-here now' | wordwrap(9, break_on_hyphens=false) }}
{{ 'a  b   c' | wordwrap(4) }}|{{ '  lead' | wordwrap(3) }}|{{ 'em--dash and more' | wordwrap(6) }}|{{ 'no breaks heeeeeeeere' | wordwrap(5, false) }}
{{ 'foo bar baz qux' | truncate(9) }}{{ 'foo bar baz qux' | truncate(9, true) }}{{ 'foo bar baz qux' | truncate(11) }}{{ 'foo bar baz qux' | truncate(11, false, '...', 0) }}
{{ ['a', 'B', 'c', 'A'] | unique | list }}{{ ['a', 'B', 'A'] | sort }}{{ ['a', 'B', 'A'] | groupby('0') | list }}{{ [3, 1, 2] | sort(reverse=true) }}{{ [[2, 'a'], [1, 'b']] | sort(attribute=0) }}{{ [{'a': {'b': 2}}, {'a': {'b': 1}}] | sort(attribute='a.b') }}
{{ [1, 'a'] | sort }}
{% for k, v in users | groupby('age') %}{{ k }}={{ v | map(attribute='n') | join(',') }};{% endfor %}{% for g in users | groupby('on') %}{{ g.grouper }}{{ g.list | length }}{{ g[0] }}{% endfor %}
{{ 'Hello' | list | reverse | join }}{{ 'ab' | batch(1) | list }}{{ range(7) | slice(3) | list }}{{ range(7) | slice(3, 'x') | list }}{{ range(7) | batch(3, 'x') | list }}
{{ 1.5 | round }}{{ 2.5 | round }}{{ 0.5 | round }}{{ -1.5 | round }}{{ 2.675 | round(2) }}{{ 1e20 | round(2) }}{{ 15 | round(-1) }}{{ 25 | round(-1) }}{{ 35 | round(-1) }}{{ 1234.5678 | round(-2) }}{{ 0.05 | round(1) }}{{ 2.1 | round(0, 'ceil') }}{{ 7 | round(1, 'floor') }}{{ 5 | round(-3) }}{{ 51.0 | round(-2) }}{{ 50.0 | round(-2) }}{{ 150.0 | round(-2) }}
{{ '0x1f' | int(0, 16) }}{{ '1_000' | int }}{{ ' 12 ' | int }}{{ '12.9' | int }}{{ '1e3' | int }}{{ 'inf' | float }}{{ 'nan' | float }}{{ '١٢' | int }}{{ '1__0' | int }}{{ '' | int }}{{ none | int }}{{ [] | int(7) }}{{ '0b11' | int(0, 2) }}{{ '0o17' | int(0, 0) }}{{ '-5' | int }}{{ '+5' | int }}{{ 'z' | int(0, 36) }}{{ 1e20 | int }}{{ 'inf' | int(3) }}
{{ 1 | filesizeformat }}{{ 999 | filesizeformat }}{{ 1000 | filesizeformat }}{{ 1024 | filesizeformat(true) }}{{ 1e9 | filesizeformat }}{{ 1e30 | filesizeformat }}{{ '5000' | filesizeformat }}{{ 1500000 | filesizeformat(true) }}
{{ {'b': 1, 'a': [1, {'x': none}]} | pprint }}{{ 'x' | pprint }}
{{ {'a': 1, 'b': '<>'} | xmlattr }}{{ {'a': none} | xmlattr }}{{ {'a b': 1} | xmlattr }}
{{ {'a': 'x y', 'b': 'ü&'} | urlencode }}{{ 'a/b c?d=é~' | urlencode }}{{ [('k', 1)] | urlencode }}
{{ '<p>Hello <b>x</b>  y</p> <!-- c --> &amp; &lt;' | striptags }}{{ '<!-- a > b -->x' | striptags }}{{ 'a < b' | striptags }}
{{ "it's a TEST-case (of title) [x] {y} <z>" | title }}{{ "it's o'neil" .title() }}{{ 'ǆ' .title() }}{{ 'ŉ' | upper }}{{ 'ΑΣ ΣΑΣ. Σ' | lower }}{{ 'İ' | lower }}{{ 'ﬁx' | upper }}{{ 'ﬁx' .capitalize() }}{{ 'ß' | capitalize }}{{ 'Straße' .swapcase() }}
{{ ['\x00', '\x7f', '\xa0', '\u200b', '\ud7ff', '\ue000', '\U0001f600', '\U000e0001', '\xad', '\u0378', 'a\u0301'] }}
{{ 'a\x1cb\x85c\u2028d\ve\ff' .splitlines() }}{{ ' \xa0\u3000x\x1f ' .strip() }}{{ 'a\xa0b' .split() }}
{{ {'a': 1, 2: 3, none: 4, true: 5, 1.5: 6} | tojson }}{{ {(1, 2): 3} | tojson }}
{{ [1.0, 1e100, 0.1, 1e-7, '\x7f\x1f\u2028é', '</script>', (1, 2), none, true] | tojson }}{{ undefined_thing | tojson }}
{{ range(3) | tojson }}
{{ {'a': [], 'b': {}, 'c': [1, {'d': 2}]} | tojson(indent=1) }}{{ [1] | tojson(indent='--') }}{{ [1, [2]] | tojson(indent=0) }}{{ {'b': 1, 'a': 2} | tojson(sort_keys=true, indent=2, separators=(' ,', ' : ')) }}
{{ d | length }}{{ d | list }}{{ d | first }}{{ d | last }}{{ d.values() | list }}{{ d.items() | first }}{{ d.keys() | length }}{{ d.keys() == d.keys() }}{{ d.items() }}{{ d | items | list }}{{ d.get('a', none) }}{{ d.get('q') is none }}
{{ lipsum is defined }}{{ range is defined }}{{ namespace is callable }}{{ dict.fromkeys(['a', 'b'], 1) }}{{ range(2, 5) }}{{ range(5) | last }}{{ range(0) | first }}{{ range(5).index(3) }}{{ 3 in range(5) }}{{ range(1, 10, 3) }}
{{ [1, [2, 3]] | sum(start=[]) }}
{{ [[1], [2]] | sum(start=[]) }}{{ ['a'] | sum }}
{{ 'abc' | map('upper') | list }}{{ {'a': 1} | map('upper') | list }}{{ 5 | map('upper') | list }}
{% set x = 'outer' %}{% for i in [1] %}{% set x = 'inner' %}{% for j in [1] %}{{ x }}{% set x = 'deep' %}{{ x }}{% endfor %}{{ x }}{% endfor %}{{ x }}
{% for i in [1, 1, 2] %}{{ loop.changed(i) }}{{ loop.cycle('a', 'b') }}{{ loop.first }}{{ loop.depth0 }}{% endfor %}{{ loop }}
{% for i in 'é🙂' %}{{ loop.index0 }}{{ i }}{% endfor %}{% for i in d %}{{ i }}{% endfor %}{% for i in undefined_thing %}x{% endfor %}{% for k, v in d | dictsort %}{{ k }}{% endfor %}
{% for i in 5 %}{% endfor %}
{% for i in none %}{% endfor %}
{% for a, b in [1] %}{% endfor %}
{% for i in items %}{% for j in items %}{{ loop.index }}{% endfor %}{{ loop.index }}{% endfor %}
{% for i in items if loop.index %}{% endfor %}
{% set loop = 3 %}{{ loop }}{% for i in [1] %}{{ loop.index }}{% endfor %}{{ loop }}
{{ messages[-1].content[0].text }}{{ messages[0]['role'] | upper }}{{ messages | selectattr('role', 'eq', 'user') | map(attribute='content') | first }}{{ (messages | rejectattr('role', 'equalto', 'user') | list)[0].role }}
{{ cycler('a').next() }}{{ [namespace(a=1).a, none | default(2), '' | default('x', true)] }}{{ caller is defined }}{{ varargs is defined }}
{{ 'a' is filter }}{{ 'upper' is filter }}{{ 'odd' is test }}{{ 'zz' is test }}{{ range is callable }}{{ 'A' is upper }}{{ 5 is upper }}{{ 'a' is not lower }}{{ 1.0 is integer }}{{ true is integer }}{{ true is boolean }}{{ 10**30 is integer }}{{ d.items() is mapping }}{{ d.keys() is sequence }}{{ range(2) is sequence }}
'''


def handwritten():
    out, block = [], []
    for line in HANDWRITTEN.strip("\n").split("\n"):
        out.append(line)
    text = HANDWRITTEN.strip("\n").split("\n")
    for size in (2, 3, 5):  # neighbours together: white space over line ends
        for i in range(0, len(text) - size, size):
            part = "\n".join(text[i : i + size])
            if "raise" not in part:
                block.append(part)
    return out + block


def random_expression(rng, depth=0):
    value = rng.choice(VALUES)
    fill = lambda text: "".join(rng.choice(VALUES) if c == "V" else c for c in text)
    kind = rng.random()
    if kind < 0.30:
        out = f"{value} | {fill(rng.choice(FILTERS))}"
    elif kind < 0.42:
        out = f"{value} is {'not ' if rng.random() < .2 else ''}{fill(rng.choice(TESTS))}"
    elif kind < 0.66:
        subject = rng.choice([v for v in VALUES if v[0] in "'"] + ["name", "s", "uni", "long", "html"]) if rng.random() < .8 else f"({value})"
        out = f"{subject}.{fill(rng.choice(METHODS))}"
    elif kind < 0.86:
        out = f"({value}) {rng.choice(BINARY)} ({rng.choice(VALUES)})"
    elif kind < 0.90:
        out = f"'{{:{rng.choice(SPECS)}}}'.format({value})"
    elif kind < 0.95:
        out = f"'{rng.choice(PERCENTS)}' % {rng.choice([value, f'({value},)', f'({value}, {rng.choice(VALUES)})'])}"
    else:
        part = lambda: rng.choice(["", "", "0", "1", "2", "-1", "-2", "5", "n", "none"])
        out = f"({value})[{part()}:{part()}{':' + part() if rng.random() < .5 else ''}]"
    if rng.random() < 0.25 and depth < 2:
        out = f"({out}) | {fill(rng.choice(FILTERS))}" if rng.random() < .7 else f"({out}) {rng.choice(BINARY)} ({random_expression(rng, depth + 1)})"
    return out


WS = ["", " ", "\n", "  ", "\n  ", "\t", "x", "x\n", " y ", "\r\n", "\n\n"]


def random_layout(rng):
    """Tags and white space in any order."""
    def sign():
        return rng.choice(["", "", "", "-", "+"])

    out = ""
    for _ in range(rng.randint(1, 6)):
        out += rng.choice(WS)
        kind = rng.randrange(6)
        a, b = sign(), sign()
        va, vb = rng.choice(["", "", "-"]), rng.choice(["", "", "-"])
        if kind == 0:
            out += f"{{%{a} if {rng.choice(['t', 'f'])} {b}%}}{rng.choice(WS)}{rng.choice(WS)}{{%{sign()} endif {sign()}%}}"
        elif kind == 1:
            out += f"{{{{{va} name {vb}}}}}"
        elif kind == 2:
            out += f"{{#{a} c {b}#}}"
        elif kind == 3:
            out += f"{{%{a} set q = 1 {b}%}}"
        elif kind == 4:
            out += f"{{%{a} raw {rng.choice(['', '-'])}%}}{rng.choice(WS)}{{{{ z }}}}{rng.choice(WS)}{{%{sign()} endraw {sign()}%}}"
        else:
            out += f"{{%{a} for i in items {b}%}}{rng.choice(WS)}{{{{ i }}}}{rng.choice(WS)}{{%{sign()} endfor {sign()}%}}"
    return out + rng.choice(WS)


def reference(env, template):
    try:
        return {"text": env.from_string(template).render(**copy.deepcopy(CONTEXT))}
    except Exception as error:  # any of Python's
        return {"error": f"{type(error).__name__}: {error}"}


def uninteresting(ref):
    """Results that name addresses or objects of Python's own."""
    text = ref.get("text", "")
    return " at 0x" in text or "<built-in" in text or "<bound method" in text or "<class" in text or "<function" in text or "<generator" in text


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=20000)
    parser.add_argument("--show", type=int, default=40)
    parser.add_argument("command", nargs="+")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    warnings.simplefilter("ignore")  # Python's own remarks on the code that jinja2 makes
    env = make_environment()
    templates = handwritten()
    for i in range(args.count):
        templates.append(random_layout(rng) if i % 4 == 3 else "{{ " + random_expression(rng) + " }}")
    lines = "".join(json.dumps({"template": t, "context": CONTEXT}) + "\n" for t in templates)
    answer = subprocess.run(args.command, input=lines.encode(), stdout=subprocess.PIPE, check=False)
    got = [json.loads(line) for line in answer.stdout.splitlines()]
    if len(got) != len(templates):
        sys.exit(f"{len(got)} answers for {len(templates)} templates (exit {answer.returncode}); next: "
                 f"{templates[len(got)] if len(got) < len(templates) else ''!r}")
    compared = differ = errors = 0
    for template, ours in zip(templates, got):
        ref = reference(env, template)
        if uninteresting(ref):
            continue
        compared += 1
        errors += "error" in ref
        if ("error" in ref) != ("error" in ours) or ref.get("text") != ours.get("text"):
            differ += 1
            if differ <= args.show:
                print(f"{template!r}\n  jinja2 {ref}\n  ours   {ours}")
    print(f"{compared} compared ({errors} of them errors), {differ} differ")
    sys.exit(1 if differ else 0)


if __name__ == "__main__":
    main()
