/* Start of a sketch as a Linux process. It ends with its input, in port_read(). */
void setup(void);
void loop(void);

int main(void)
{
    setup();
    for (;;) loop();
}
