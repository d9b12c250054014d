-- Boxes, badges and headings of a deck in the three formats. Boxes: key, example, caution (with title="…"), big, small.
local LABELS = {key = "Key idea", example = "Example", caution = "Caution"}

local function latex(text) return pandoc.RawBlock("latex", text) end

function Header(h)
  local kind = h.attributes.kind
  if h.level ~= 2 or not kind then return nil end
  h.attributes.kind = nil
  if FORMAT == "revealjs" then
    h.content:insert(1, pandoc.Span({pandoc.Str(kind)}, pandoc.Attr("", {"badge"})))
    h.content:insert(2, pandoc.Space())
  end
  return h
end

function Div(d)
  local box = d.classes[1]
  if box == "columns" then
    d.classes:insert("onlytextwidth")
    return d
  end
  if LABELS[box] then
    local title = d.attributes.title or LABELS[box]
    d.attributes.title = nil
    if FORMAT == "beamer" then
      local blocks = pandoc.List({latex("\\begin{mls" .. box .. "}{" .. pandoc.write(pandoc.Pandoc({pandoc.Plain(
        pandoc.read(title, "markdown").blocks[1].content)}), "latex"):gsub("%s+$", "") .. "}")})
      blocks:extend(d.content)
      blocks:insert(latex("\\end{mls" .. box .. "}"))
      return blocks
    end
    local head = pandoc.Para({pandoc.Strong(pandoc.read(title, "markdown").blocks[1].content)})
    if FORMAT == "pptx" then
      local blocks = pandoc.List({head})
      blocks:extend(d.content)
      return blocks
    end
    d.content:insert(1, pandoc.Div({head}, pandoc.Attr("", {"box-title"})))
    d.classes:insert("box")
    return d
  elseif box == "big" or box == "small" then
    if FORMAT == "beamer" then
      local blocks = pandoc.List({latex("\\begin{mls" .. box .. "}")})
      blocks:extend(d.content)
      blocks:insert(latex("\\end{mls" .. box .. "}"))
      return blocks
    elseif FORMAT == "pptx" then
      if box == "small" then return d.content end
      return d.content:map(function(b) return b.t == "Para" and pandoc.Para({pandoc.Strong(b.content)}) or b end)
    end
  end
end

-- A table of a PPTX has no place for formulas: what can be written as text becomes text there.
function Table(t)
  if FORMAT ~= "pptx" then return nil end
  return t:walk({Math = function(m)
    local text = pandoc.write(pandoc.Pandoc({pandoc.Plain({m})}), "plain"):gsub("%s+$", "")
    if text:find("[\\$]") then
      error("the formula $" .. m.text .. "$ of a table cannot be text, which it has to be in PPTX; put it above or below the table")
    end
    return pandoc.Str(text)
  end})
end

-- PPTX has one picture or table a slide, behind its text, and columns only on a slide of their own.
local function is_last(b)
  return b.t == "Table" or (b.t == "Para" and #b.content == 1 and b.content[1].t == "Image")
end

-- Text before columns goes on top of the first, text behind them below the last.
local function in_columns(blocks)
  for i, b in ipairs(blocks) do
    if b.t == "Div" and b.classes:includes("columns") then
      local columns = b.content
      for j = i - 1, 1, -1 do columns[1].content:insert(1, blocks[j]) end
      for j = i + 1, #blocks do columns[#columns].content:insert(blocks[j]) end
      return pandoc.List({b})
    end
  end
  return blocks
end

local function arranged(blocks)
  local body, notes = pandoc.List(), pandoc.List()
  for _, b in ipairs(blocks) do
    if b.t == "Div" and b.classes:includes("notes") then notes:insert(b) else body:insert(b) end
  end
  body = in_columns(body)
  local first, last = pandoc.List(), pandoc.List()
  for _, b in ipairs(body) do (is_last(b) and last or first):insert(b) end
  first:extend(last)
  first:extend(notes)
  return first
end

function Pandoc(doc)
  if FORMAT ~= "pptx" then return nil end
  local out, slide = pandoc.List(), pandoc.List()
  for _, b in ipairs(doc.blocks) do
    if b.t == "Header" and b.level <= 2 then
      out:extend(arranged(slide))
      slide = pandoc.List()
      out:insert(b)
    else
      slide:insert(b)
    end
  end
  out:extend(arranged(slide))
  doc.blocks = out
  return doc
end
