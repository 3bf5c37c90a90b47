package view

import (
	"github.com/twinfleet/twinfleet/internal/terminal/paint"
)

// column is a column of figures; when room is short those of a low rank stay.
type column struct {
	title string
	width int
	rank  int
}

// fitting are the columns that have room, in their order: at each row they take their width and one before it.
func fitting(all []column, room int) (shown []column) {
	shown = append(shown, all...)
	for {
		width, worst := 0, 0
		for i, c := range shown {
			width += 1 + c.width
			if c.rank > shown[worst].rank {
				worst = i
			}
		}
		if width <= room || len(shown) == 0 {
			return shown
		}
		shown = append(shown[:worst:worst], shown[worst+1:]...)
	}
}

// titles are the heads of columns, each with a space before it.
func titles(columns []column) (text string) {
	for _, c := range columns {
		text += " " + paint.Right(c.title, c.width)
	}
	return text
}

// widthOf is the room that columns take.
func widthOf(columns []column) (width int) {
	for _, c := range columns {
		width += 1 + c.width
	}
	return width
}
