# link-tables.awk: the table of a link's figures, as markdown; see tables.sh.

BEGIN { FS = "\t" }

FNR == NR {
	if (match($0, /^# [a-z ]*: /))
		about[substr($0, 3, RLENGTH - 4)] = substr($0, RLENGTH + 1)
	next
}
$4 == "link" {
	figures[++nfigure] = $1 FS $2 FS $3
	found[$1, $2] = number($6) " | " number($7) "–" number($8)
}
$4 == "goal" { goal[$1, $2] = $6 }

END {
	printf "Measured on %s: %s, %s; %s; %s.\n", \
		about["date"], about["processor"], about["memory"], about["system"], about["compilers"]
	printf "Medians of %s; the load of the machine before was %s.\n\n", about["rounds"], about["load before"]
	print "| load | figure | unit | goal | median | range |"
	print "|---|---|---|---|---|---|"
	for (i = 1; i <= nfigure; i++) {
		split(figures[i], part, FS)
		print "| " part[1] " | " part[2] " | " part[3] " | " goal[part[1], part[2]] " | " found[part[1], part[2]] " |"
	}
}
