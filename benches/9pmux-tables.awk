# 9pmux-tables.awk: the tables of 9pmux's load generator, as markdown; see tables.sh.

BEGIN { FS = "\t" }

FNR == NR {
	if (match($0, /^# [a-z ]*: /))
		about[substr($0, 3, RLENGTH - 4)] = substr($0, RLENGTH + 1)
	next
}
{
	if (!($1 in known)) {
		known[$1] = 1
		loads[++nload] = $1
	}
	median[$1, $2, $4] = $6
	least[$1, $2, $4] = $7
	most[$1, $2, $4] = $8
	seen[$4] = 1
}

function cell(load, figure, side) {
	if (!((load, figure, side) in median))
		return " |"
	return " " number(median[load, figure, side]) (side !~ "/" && least[load, figure, side] != most[load, figure, side] ? \
		" (" number(least[load, figure, side]) "–" number(most[load, figure, side]) ")" : "") (side ~ "/" ? "x" : "") " |"
}

END {
	n = split("9pmux straight socat 9pserve", side, " ")
	printf "Measured on %s: %s, %s; %s; %s.\n", \
		about["date"], about["processor"], about["memory"], about["system"], about["compilers"]
	printf "Medians of %s, with the least and the most in brackets; the load of the machine before was %s.\n", \
		about["rounds"], about["load before"]
	print "A ratio is the median of the ratios of the rounds; more than 1 is better for 9pmux."
	print "\n### Messages per second\n"
	line = "| clients x requests |"; rule = "|---|"
	for (s = 1; s <= n; s++)
		if (side[s] in seen) {
			line = line " " side[s] " |" (s > 1 ? " ratio |" : "")
			rule = rule "---|" (s > 1 ? "---|" : "")
		}
	print line
	print rule
	for (i = 1; i <= nload; i++) {
		line = "| " loads[i] " |"
		for (s = 1; s <= n; s++)
			if (side[s] in seen)
				line = line cell(loads[i], "rate", side[s]) (s > 1 ? cell(loads[i], "rate", "9pmux/" side[s]) : "")
		print line
	}
	print "\n### Processor time in nanoseconds per message, of the process between clients and server\n"
	print "| clients x requests | 9pmux | socat | ratio |"
	print "|---|---|---|---|"
	for (i = 1; i <= nload; i++)
		print "| " loads[i] " |" cell(loads[i], "cost", "9pmux") cell(loads[i], "cost", "socat") \
			cell(loads[i], "cost", "9pmux/socat")
}
