# libmux-tables.awk: the tables of the library's benchmark, as markdown; see tables.sh.

BEGIN { FS = "\t" }

# what was measured, and on what
FNR == NR {
	if (match($0, /^# [a-z ]*: /))
		about[substr($0, 3, RLENGTH - 4)] = substr($0, RLENGTH + 1)
	next
}
{
	row = $1 FS $2
	if (!(row in unit)) {
		unit[row] = $3
		rows[++nrow] = row
	}
	median[row, $4] = $6
	least[row, $4] = $7
	most[row, $4] = $8
	times[row, $4] = $5
	seen[$4] = 1
}

function cell(row, side,   r) {
	if ((row, side) in median)
		r = number(median[row, side])
	else if (((part[1] FS "stuck"), side) in median)
		r = "locks up"
	else
		return ""
	if ((row, side) in median && least[row, side] != most[row, side])
		r = r " (" number(least[row, side]) "–" number(most[row, side]) ")"
	if ((row, side) in median && ((part[1] FS "stuck"), side) in median)
		r = r ", locks up in " times[part[1] FS "stuck", side] " rounds"
	return r
}

function ratio(row, sides) {
	return (row, sides) in median ? number(median[row, sides]) "x" : ""
}

# one table: of the loads and figures that match; more says which columns there are beside the sides
function table(title, loads, figures, more,   i, head, rule, line, row) {
	printf "\n### %s\n\n", title
	head = "| load |"; rule = "|---|"
	if (more ~ /figure/) { head = head " figure |"; rule = rule "---|" }
	head = head " " about["ours"] " |"; rule = rule "---|"
	if (more ~ /slope/) { head = head " relative to 16 |"; rule = rule "---|" }
	if ("peer" in seen) { head = head " " about["peer"] " | ratio |"; rule = rule "---|---|" }
	if (more ~ /floor/) { head = head " floor | ratio to floor |"; rule = rule "---|---|" }
	if (more ~ /fairness/) { head = head " slowest/fastest |"; rule = rule "---|" }
	print head
	print rule
	for (i = 1; i <= nrow; i++) {
		row = rows[i]
		split(row, part, FS)
		if (part[1] !~ loads || part[2] !~ figures)
			continue
		line = "| " part[1] " |"
		if (more ~ /figure/)
			line = line " " part[2] " |"
		line = line " " cell(row, "ours") " |"
		if (more ~ /slope/)
			line = line " " slope(row) " |"
		if ("peer" in seen)
			line = line " " cell(row, "peer") " | " ratio(row, "ours/peer") " |"
		if (more ~ /floor/)
			line = line " " cell(row, "floor") " | " ratio(row, "ours/floor") " |"
		if (more ~ /fairness/)
			line = line " " fairness(part[1] FS "fairness") " |"
		gsub(/  +/, " ", line)
		print line
	}
}

# what a call costs beside one with 16 outstanding
function slope(row,   base) {
	base = median["outstanding-16" FS "cost", "ours"]
	return base > 0 ? number(median[row, "ours"] / base) : ""
}

function fairness(row) {
	return (row, "ours") in median ? number(median[row, "ours"]) : ""
}

END {
	printf "Measured on %s: %s, %s; %s; %s.\n", \
		about["date"], about["processor"], about["memory"], about["system"], about["compilers"]
	printf "Medians of %s, with the least and the most in brackets; the load of the machine before was %s.\n", \
		about["rounds"], about["load before"]
	printf "A ratio is the median of the ratios of the rounds; more than 1 is better for %s.\n", about["ours"]
	table("Calls per second", ".", "^rate$", "floor fairness")
	table("Nanoseconds per call, in memory", "^mem-", "^cost$", "floor")
	table("Nanoseconds per call, by number of outstanding calls", "^outstanding-", "^cost$", "slope")
	table("Latency in microseconds of a caller that pauses between calls", "^lone-", "^(p50|p99|p99.9)$", "figure floor")
	table("Bytes of memory", "^memory-", "^(held|after .*)$", "figure")
}
