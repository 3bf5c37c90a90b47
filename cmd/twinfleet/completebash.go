package main

import (
	"io"

	"github.com/spf13/cobra"
)

// bashWords stands in for what cobra's script takes from the package bash-completion, which many machines lack: without it every TAB
// printed an error. It puts together again what readline split at "=" and ":", and ends the line at the cursor.
const bashWords = `
__twinfleet_init_completion()
{
    COMPREPLY=()
    if declare -F _get_comp_words_by_ref >/dev/null 2>&1; then
        _get_comp_words_by_ref "$@" cur prev words cword
        return
    fi
    local rest=${COMP_LINE:0:COMP_POINT} part="" before="" space i
    words=()
    for ((i = 0; i <= COMP_CWORD; i++)); do
        space=${rest%%[![:space:]]*}
        rest=${rest:${#space}}
        before=$part
        part=${COMP_WORDS[i]}
        if ((i == COMP_CWORD)); then
            part=$rest
        fi
        rest=${rest:${#part}}
        if [[ -z $space && $i -gt 0 && ($part == [=:]* || $before == *[=:]) ]]; then
            words[${#words[@]}-1]+=$part
        else
            words+=("$part")
        fi
    done
    cword=$((${#words[@]} - 1))
    cur=${words[cword]}
    prev=""
    if ((cword > 0)); then
        prev=${words[cword-1]}
    fi
}
`

// completeBashAlone has the script for bash do without the package bash-completion.
func completeBashAlone(root *cobra.Command, out io.Writer) {
	root.InitDefaultCompletionCmd()
	bash, _, err := root.Find([]string{"completion", "bash"})
	if err != nil {
		panic(err) // cobra made it
	}
	bash.Long = `Generate the autocompletion script for bash. It works with the package bash-completion and without.

To load completions in the current shell, and in every new one by the same line in ~/.bashrc:

	source <(twinfleet completion bash)

For every user, where bash-completion is installed:

	twinfleet completion bash > /etc/bash_completion.d/twinfleet`
	generate := bash.RunE
	bash.RunE = func(cmd *cobra.Command, args []string) error {
		if err := generate(cmd, args); err != nil {
			return err
		}
		_, err := io.WriteString(out, bashWords)
		return err
	}
}
