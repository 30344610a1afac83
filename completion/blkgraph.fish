# SPDX-License-Identifier: MIT
# Completion of blkgraph for fish. The command itself is asked what could stand
# there (blkgraph --complete), so nothing is listed twice.

function __blkgraph_complete
	set -l words (commandline -opc)
	set -l command $words[1]
	set -e words[1]
	set -l last (commandline -ct)
	for line in ($command --complete $words "$last" 2>/dev/null </dev/null)
		if test -n "$line"
			echo $line
			continue
		end
		# names of files, behind --option= too
		set -l front (string match -r -- '^-[^=]*=' "$last")
		for file in (__fish_complete_path (string replace -- "$front" '' "$last"))
			echo "$front$file"
		end
	end
end

complete -c blkgraph -f -a '(__blkgraph_complete)'
