"""What the tab key offers after `raysyn`: scripts for shells, of words alone, so that a key press starts no Python."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Words:
    """What may follow one first word."""

    second: Sequence[str] = ()
    """Presets, or what else is the second word; without these it is a file."""
    flags: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """{flag with its hyphens: words that it takes, where they can be listed}. After another flag come files."""


def script(shell: str, known: Mapping[str, Words]) -> str:
    """For one of `SHELLS`, to be sourced; `known` by first words."""
    rows: list[tuple[int, str, Sequence[str]]] = [(1, "*", [*known, "--help", "--version"])]
    for first, words in known.items():
        if words.second:
            rows.append((2, first, [*words.second, "--help", *(["--help-all"] if words.flags else [])]))
        rows += [(3, f"{first}:{flag}", after) for flag, after in words.flags.items() if after]
        if words.flags:
            rows.append((3, f"{first}:*", list(words.flags)))
    for _, _, offered in rows:
        strange = [word for word in offered if not re.fullmatch(r"[\w.+-]+", word)]
        assert not strange, f"{strange[0]} would have to be quoted"
    return SHELLS[shell](rows)


Rows = Sequence[tuple[int, str, Sequence[str]]]
"""(place of the word, first word and for the third and later the one before, what is offered): the first that fits."""


def _bash(rows: Rows) -> str:
    return f"""# raysyn in bash: put `source <(raysyn completion bash)` into ~/.bashrc.
_raysyn() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} place=$COMP_CWORD words=
    # --flag=value is three words here.
    if [[ $word == = ]]; then word=
    elif [[ $before == = ]]; then before=${{COMP_WORDS[COMP_CWORD-2]}}
    fi
    [[ $place -lt 3 ]] || place=3
    case $place:${{COMP_WORDS[1]}}:$before:$word in
{_cases(rows, "words='{}'")}
    esac
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _raysyn raysyn
"""


def _zsh(rows: Rows) -> str:
    return f"""#compdef raysyn
# raysyn in zsh: put `source <(raysyn completion zsh)` into ~/.zshrc, after compinit.
_raysyn() {{
    local word=${{words[CURRENT]}} before=${{words[CURRENT-1]}} place=$((CURRENT-1))
    local -a found
    if [[ $word == --*=* ]]; then
        before=${{word%%=*}} word=${{word#*=}}
        compset -P '*='
    fi
    (( place < 3 )) || place=3
    case $place:${{words[2]}}:$before:$word in
{_cases(rows, "found=({})")}
    esac
    if (( $#found )); then compadd -- $found; else _files; fi
}}
if [[ $funcstack[1] == _raysyn ]]; then _raysyn "$@"; else compdef _raysyn raysyn; fi
"""


def _cases(rows: Rows, found: str) -> str:
    """Branches on `place:first:before:word`, for shells of Bourne's family."""
    lines = []
    for place, pattern, words in rows:
        if place < 3:
            fits = [f"{place}:*" if place == 1 else f"{place}:{pattern}:*"]
        elif pattern.endswith(":*"):
            # A flag where one begins, or where nothing begins and no flag waits for its value.
            first = pattern.removesuffix(":*")
            fits = [f"3:{first}:*:-*", f"3:{first}:[^-]*:"]
        else:
            fits = [f"3:{pattern}:[^-]*", f"3:{pattern}:"]
        lines.append(f"    {'|'.join(fits)}) {found.format(' '.join(words))} ;;")
    return "\n".join(lines)


def _fish(rows: Rows) -> str:
    lines = []
    for place, pattern, words in rows:
        if place < 3:
            fits = f"'{place}:*'" if place == 1 else f"'{place}:{pattern}:*'"
        elif pattern.endswith(":*"):
            first = pattern.removesuffix(":*")
            fits = f"'3:{first}:*:-*' '3:{first}:plain:*'"
        else:
            fits = f"'3:{pattern}:*'"
        lines.append(f"        case {fits}\n            printf '%s\\n' {' '.join(words)}")
    branches = "\n".join(lines)
    return f"""# raysyn in fish: put `raysyn completion fish | source` into ~/.config/fish/config.fish.
function __raysyn_words
    set -l typed (commandline -opc)
    set -l word (commandline -ct)
    set -l place (count $typed)
    test $place -lt 3; or set place 3
    set -l before $typed[-1]
    string match -q -- '--*' $before; or set before plain
    switch "$place:$typed[2]:$before:$word"
{branches}
    end
end
complete -c raysyn -f -n 'count (__raysyn_words) >/dev/null' -a '(__raysyn_words)'
"""


SHELLS: dict[str, Callable[[Rows], str]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
