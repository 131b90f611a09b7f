# align.awk: pads the cells of the tables in a text, so that their columns are aligned.

/^\|/ { line[++n] = $0; next }
{ flush_table(); print }
END { flush_table() }

function flush_table(   i, j, columns, cell, width, out) {
	for (i = 1; i <= n; i++) {
		columns = split(line[i], cell, / *\| */)
		for (j = 2; j < columns; j++)
			if (cell[j] !~ /^-+$/ && length(cell[j]) > width[j])
				width[j] = length(cell[j])
	}
	for (i = 1; i <= n; i++) {
		columns = split(line[i], cell, / *\| */)
		out = "|"
		for (j = 2; j < columns; j++)
			out = out " " padded(cell[j], width[j]) " |"
		print out
	}
	n = 0
}

function padded(text, width,   c) {
	c = text ~ /^-+$/ ? "-" : " "
	while (length(text) < width)
		text = text c
	return substr(text, 1, width)
}
